package s3store

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/vaultpack/vaultpack/vault"
)

// A meter is an HTTP client that counts requests and bytes.
type meter struct {
	next                                aws.HTTPClient
	puts, lists, gets, deletes, retries atomic.Int64
	sent, received                      atomic.Int64
}

func (m *meter) usage() vault.Requests {
	return vault.Requests{
		Puts: m.puts.Load(), Lists: m.lists.Load(), Gets: m.gets.Load(), Deletes: m.deletes.Load(),
		Retries: m.retries.Load(), BytesSent: m.sent.Load(), BytesReceived: m.received.Load(),
	}
}

func (m *meter) Do(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodDelete:
		m.deletes.Add(1)
	case r.Method == http.MethodGet && (q.Has("list-type") || q.Has("uploads") || q.Has("versions")):
		m.lists.Add(1)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		m.gets.Add(1)
	default:
		m.puts.Add(1)
	}
	// The SDK sends "attempt=2; max=6".
	if a := r.Header.Get("Amz-Sdk-Request"); a != "" && !strings.HasPrefix(a, "attempt=1;") {
		m.retries.Add(1)
	}
	if r.Body != nil {
		r.Body = &countedBody{r.Body, &m.sent}
	}
	resp, err := m.next.Do(r)
	if err == nil {
		resp.Body = &countedBody{resp.Body, &m.received}
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// newHTTPClient returns a client that gives up on connections that are silent for too
// long. The SDK itself would wait forever for a response.
func newHTTPClient(stall time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		dialer := net.Dialer{Timeout: min(stall, 15*time.Second), KeepAlive: 30 * time.Second}
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &stallConn{c, stall}, nil
		}
		t.TLSHandshakeTimeout = min(stall, 15*time.Second)
		t.WriteBufferSize, t.ReadBufferSize = 64<<10, 64<<10
		t.MaxIdleConnsPerHost = 64
		t.MaxIdleConns = 64
		// Below the limit of stallConn, which cannot distinguish idle from silent.
		t.IdleConnTimeout = min(stall/2, 30*time.Second)
	})
}

// A stallConn fails if nothing has moved for some time in either direction.
type stallConn struct {
	net.Conn
	stall time.Duration
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write also extends the deadline of a Read that is waiting: the transport begins to read
// before it sends.
func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		err = c.SetReadDeadline(time.Now().Add(c.stall))
	}
	return n, err
}
