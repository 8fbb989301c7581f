package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A Group is a number of hosts of one type.
type Group struct {
	Name  string
	Type  string // such as ml.g5.xlarge; empty is "local"
	Count int
}

const (
	// MaxHosts is the most hosts that a job has on this machine.
	MaxHosts = 64
	// homogeneous is what SageMaker calls the group of a job that names none.
	homogeneous = "homogeneousCluster"
	// hostPrefix begins the names of hosts.
	hostPrefix = "algo-"
	// localType is the type of a host of which none is named.
	localType = "local"
)

// A host is one machine of the job.
type host struct {
	name, group, kind string
	// dir is the host's folder on this machine. Its part ml is what the host finds as /opt/ml.
	dir     string
	address netip.Addr
}

func (h *host) base() string { return filepath.Join(h.dir, "ml") }

// A cluster is the hosts of a job.
type cluster struct {
	hosts  []host
	groups []Group
	iface  string // the network interface by which hosts reach each other
}

// newCluster gives each host a folder: of one host it is the job's own.
func (j *Job) newCluster(dir string) (*cluster, error) {
	c := &cluster{groups: slices.Clone(j.Groups), iface: "lo"}
	if len(c.groups) == 0 {
		c.groups = []Group{{Name: homogeneous, Count: 1}}
	}
	for i := range c.groups {
		g := &c.groups[i]
		if g.Type == "" {
			g.Type = localType
		}
		if g.Name == "" {
			g.Name = homogeneous
		}
		if g.Count < 1 || g.Count > MaxHosts-len(c.hosts) {
			return nil, fmt.Errorf("local: a job has 1 to %d hosts on this machine", MaxHosts)
		}
		for range g.Count {
			name := fmt.Sprintf("%s%d", hostPrefix, len(c.hosts)+1)
			c.hosts = append(c.hosts, host{name: name, group: g.Name, kind: g.Type, dir: filepath.Join(dir, name)})
		}
	}
	if len(c.hosts) == 1 {
		c.hosts[0].dir = dir
	}
	c.number("127.0.0.0")
	for _, h := range c.hosts {
		if err := os.MkdirAll(h.base(), 0o755); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// number gives the hosts the addresses after base.
func (c *cluster) number(base string) {
	first := netip.MustParseAddr(base).As4()
	for i := range c.hosts {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(first[:])+uint32(i)+1)
		c.hosts[i].address = netip.AddrFrom4(a)
	}
}

// names are those of all hosts, or those of one group, sorted as SageMaker sorts them.
func (c *cluster) names(group string) []string {
	var names []string
	for _, h := range c.hosts {
		if group == "" || h.group == group {
			names = append(names, h.name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// share tells which part of a sharded channel is the host's, of how many.
func (c *cluster) share(h *host) (part, parts int) {
	return slices.IndexFunc(c.hosts, func(o host) bool { return o.name == h.name }), len(c.hosts)
}

// hostsFile is /etc/hosts of each host: this machine's, and the hosts.
func (c *cluster) hostsFile() []byte {
	var b strings.Builder
	for _, h := range c.hosts {
		fmt.Fprintf(&b, "%v %s\n", h.address, h.name)
	}
	own, _ := os.ReadFile("/etc/hosts") // without it there is less to resolve
	for line := range strings.Lines(string(own)) {
		names, _, _ := strings.Cut(line, "#")
		if !slices.ContainsFunc(strings.Fields(names), func(f string) bool { return strings.HasPrefix(f, hostPrefix) }) {
			b.WriteString(line)
		}
	}
	return []byte(b.String())
}

// resources is resourceconfig.json of a host.
func (c *cluster) resources(h *host) object {
	groups := []object{}
	for _, g := range c.groups {
		groups = append(groups, object{"instance_group_name": g.Name, "instance_type": g.Type, "hosts": c.names(g.Name)})
	}
	return object{"current_host": h.name, "current_instance_type": h.kind, "current_group_name": h.group, "hosts": c.names(""),
		"instance_groups": groups, "network_interface_name": c.iface}
}

// walls are what a host has of its own, beside its processes.
type walls struct {
	private bool // /opt/ml, /etc/hosts, the host name
	network bool
}

// errNoWalls is why hosts cannot be told apart here.
var errNoWalls = errors.New("it takes Linux and namespaces, as root or with user namespaces (sysctl user.max_user_namespaces; a container's seccomp profile may forbid them)")

// build finds out what hosts can have of their own here, before there is any data, and makes
// of the cluster what it will be.
func (r *run) build() error {
	n := len(r.cluster.hosts)
	own := n > 1 && !r.SharedNetwork || r.Isolated
	if len(r.Enter) == 0 || r.NoNamespace {
		switch {
		case n > 1:
			return fmt.Errorf("%d hosts on one machine need namespaces, and the job is to have none", n)
		case r.Isolated && !r.NoNamespace:
			return errors.New("a job without network needs namespaces, and the job is to have none")
		case r.Isolated:
			r.Logf("warning: the job has this machine's network, since it is to have no namespace")
		}
		r.Logf("the job finds its files by SAGEMAKER_BASE_DIR and SM_*")
		return nil
	}
	why := ""
	for _, w := range []walls{{true, true}, {true, false}} {
		if w.network != own && (w.network || r.Isolated) {
			continue
		}
		if why = r.probe(w); why == "" {
			r.walls = w
			break
		}
		if w.network && !r.Isolated {
			r.Logf("the hosts cannot have a network of their own here (%s): they share this machine's, as 127.0.0.1 to 127.0.0.%d", why, n)
		}
	}
	switch {
	case r.walls.private:
	case r.Isolated:
		return fmt.Errorf("a job without network cannot be run here: %s: %w", why, errNoWalls)
	case n > 1:
		return fmt.Errorf("%d hosts cannot be run here: %s: %w", n, why, errNoWalls)
	default:
		r.Logf("%s cannot be made private here (%s): the job finds its files by SAGEMAKER_BASE_DIR and SM_*", baseDir, why)
		return nil
	}
	if n > 1 && r.walls.network {
		r.useNetwork()
		way := "--shared-network gives them this machine's"
		if r.Isolated {
			way = "as network_isolation says"
		}
		r.Logf("the %d hosts have a network of their own, without a way out of it; %s", n, way)
	}
	return nil
}

// useNetwork numbers the hosts in a network of their own.
func (r *run) useNetwork() {
	r.cluster.number("10.0.0.0")
	r.cluster.iface = hostInterface
}

// probe runs hosts that do nothing, and returns why they cannot be run.
func (r *run) probe(w walls) (why string) {
	if runtime.GOOS != "linux" {
		return "this is " + runtime.GOOS
	}
	before := *r.cluster
	before.hosts = slices.Clone(r.cluster.hosts)
	defer func() { *r.cluster = before }()
	if w.network && len(r.cluster.hosts) > 1 {
		r.useNetwork()
	}
	var starts []start
	for _, h := range r.cluster.hosts {
		starts = append(starts, start{Env: os.Environ(), Dir: h.base(), Argv: []string{"true"}})
	}
	cmd, err := r.enter(w, starts)
	if err != nil {
		return err.Error()
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return firstLine(out, err)
	}
	if e, ok := readExit(r.ws.dir); !ok || e.status != 0 {
		return firstLine(out, errors.New("a process cannot be started"))
	}
	for _, dir := range r.dirs() {
		if err := os.Remove(filepath.Join(dir, exitName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err.Error()
		}
	}
	return ""
}

// dirs are the folders of the job and of its hosts.
func (r *run) dirs() []string {
	dirs := []string{r.ws.dir}
	for _, h := range r.cluster.hosts {
		if h.dir != r.ws.dir {
			dirs = append(dirs, h.dir)
		}
	}
	return dirs
}

func firstLine(out []byte, err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return err.Error()
	}
	return line
}
