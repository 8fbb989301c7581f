package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/vaultpack/vaultpack/internal/given"
)

// maxConnections is how many clients are connected at one time. Others wait.
const maxConnections = 256

// ListenOptions say who may connect. The zero value lets processes of this machine.
type ListenOptions struct {
	// AllowRemote allows addresses that other machines reach.
	AllowRemote bool
	// CertFile and KeyFile are for TLS.
	CertFile, KeyFile string
	// Hosts are names under which clients may ask, beside IP addresses and localhost.
	Hosts []string
}

// An Endpoint is where a server listens.
type Endpoint struct {
	listener net.Listener
	socket   string // the file, of a Unix socket
	hosts    map[string]bool
	tls      *tls.Config

	URL    string // without a slash at its end; "unix:FILE" of a socket
	Remote bool   // other machines may reach it
}

// Listen listens at an address, HOST:PORT with an IP address or localhost, or unix:FILE.
func Listen(ctx context.Context, address string, o ListenOptions) (*Endpoint, error) {
	if err := given.Check(ctx, address != "", errors.New("serve: no address to listen at was given")); err != nil {
		return nil, err
	}
	e := &Endpoint{hosts: map[string]bool{}}
	if file, ok := strings.CutPrefix(address, "unix:"); ok {
		return e, e.listenUnix(ctx, file)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is not an address to listen at: write HOST:PORT, such as 127.0.0.1:9000, or unix:FILE", address)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip := net.ParseIP(host)
	switch {
	case host != "" && ip == nil:
		return nil, fmt.Errorf("%q: write the IP address to listen at, such as 127.0.0.1:%s", address, port)
	case ip == nil || !ip.IsLoopback():
		if e.Remote = true; !o.AllowRemote {
			return nil, fmt.Errorf("other machines could reach %s: listen at 127.0.0.1:%s, or add --allow-remote, best with --tls-cert and --tls-key", address, port)
		}
	}
	for _, h := range o.Hosts {
		e.hosts[strings.ToLower(h)] = true
	}
	scheme := "http"
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		scheme, e.tls = "https", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	var config net.ListenConfig
	if e.listener, err = config.Listen(ctx, "tcp", net.JoinHostPort(host, port)); err != nil {
		return nil, err
	}
	e.URL = scheme + "://" + e.listener.Addr().String()
	e.listener = netutil.LimitListener(e.listener, maxConnections)
	return e, nil
}

// TLS reports whether the connections are encrypted.
func (e *Endpoint) TLS() bool { return e.tls != nil }

// listenUnix listens at a socket that only this user may open. It takes the place of one
// that nobody listens at any more.
func (e *Endpoint) listenUnix(ctx context.Context, file string) error {
	if info, err := os.Lstat(file); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return fmt.Errorf("%s exists and is not a socket; it is left as it is", file)
		}
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(ctx, "unix", file); err == nil {
			conn.Close()
			return fmt.Errorf("another process listens at %s", file)
		}
	}
	// In a folder of its own nobody can open it before it has its mode.
	private, err := os.MkdirTemp(filepath.Dir(file), ".vaultpack-")
	if err != nil {
		return err
	}
	defer os.Remove(private)
	var config net.ListenConfig
	made := filepath.Join(private, "s")
	l, err := config.Listen(ctx, "unix", made)
	if err != nil {
		return err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it is called otherwise by then
	}
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, file)); err != nil {
		os.Remove(made)
		return errors.Join(err, l.Close())
	}
	e.listener, e.socket, e.URL = netutil.LimitListener(l, maxConnections), file, "unix:"+file
	return nil
}

// Close stops listening. Serve does it, too.
func (e *Endpoint) Close() error {
	if e == nil || e.listener == nil {
		return errNoEndpoint
	}
	err := e.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if e.socket != "" {
		os.Remove(e.socket)
		e.socket = ""
	}
	return err
}

var errNoEndpoint = errors.New("serve: an Endpoint that Listen has not returned")
