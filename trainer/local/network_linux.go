package local

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// A network connects hosts. It is in the network namespace of the crew and those of its
// hosts, and ends with them.
type network struct {
	bridge *netlink.Bridge
	hosts  int
}

func newNetwork() (*network, error) {
	n := &network{bridge: &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "hosts"}}}
	if err := netlink.LinkAdd(n.bridge); err != nil {
		return nil, fmt.Errorf("making a network for the hosts: %w", err)
	}
	if err := netlink.LinkSetUp(n.bridge); err != nil {
		return nil, fmt.Errorf("making a network for the hosts: %w", err)
	}
	return n, nil
}

// add gives the host whose supervisor is the process its interface in the network.
func (n *network) add(pid int) error {
	n.hosts++
	cable := netlink.NewVeth(netlink.LinkAttrs{Name: fmt.Sprintf("host%d", n.hosts), MasterIndex: n.bridge.Index})
	cable.PeerName, cable.PeerNamespace = hostInterface, netlink.NsPid(pid)
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("connecting a host: %w", err)
	}
	if err := netlink.LinkSetUp(cable); err != nil {
		return fmt.Errorf("connecting a host: %w", err)
	}
	return nil
}

// connect brings up the host's own end.
func (h *hostSpec) connect() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("the network of host %s: %w", h.Name, err)
	}
	if err := netlink.LinkSetUp(lo); err != nil || h.Address == "" {
		return err
	}
	link, err := netlink.LinkByName(h.Interface)
	if err != nil {
		return fmt.Errorf("the network of host %s: %w", h.Name, err)
	}
	addr, err := netlink.ParseAddr(h.Address)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("the network of host %s: %w", h.Name, err)
	}
	return netlink.LinkSetUp(link)
}
