package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/internal/given"
)

// Bounds of what a client can make the server wait for.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = 2 * time.Minute // of one write, of at most sendSize
	endTimeout    = 5 * time.Second // for what is under way when the server ends
	maxHeader     = 64 << 10        // bytes
	maxBody       = 64 << 10        // bytes, of which only WebDAV reads any
)

// Serve answers requests with h until ctx ends. Then it waits a few seconds for the requests
// that are under way, and ends the others.
func (e *Endpoint) Serve(ctx context.Context, h http.Handler) error {
	if err := given.Check(ctx, e != nil && e.listener != nil && h != nil, errNoEndpoint); err != nil {
		return err
	}
	defer e.Close()
	server := &http.Server{
		Handler: e.guard(h), TLSConfig: e.tls, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0), // of clients; what is wrong with data is told by the handlers
	}
	ended := make(chan error, 1)
	go func() {
		if e.tls != nil {
			ended <- server.ServeTLS(e.listener, "", "")
			return
		}
		ended <- server.Serve(e.listener)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// guard refuses requests under a name that is not the server's, and bounds what a client
// can make it wait for. A page in a browser can reach this machine under a name of its own
// (DNS rebinding), but not under an IP address or localhost.
func (e *Endpoint) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !e.allows(r.Host) {
			http.Error(w, "this server is not known under that name", http.StatusMisdirectedRequest)
			return
		}
		control := http.NewResponseController(w)
		if err := takeBody(w, r, control); err != nil {
			http.Error(w, "the request's body was not received", http.StatusBadRequest)
			return
		}
		h.ServeHTTP(&timedWriter{w, control}, r)
	})
}

// takeBody reads the body of a PROPFIND, the only request that has one, into memory. Any
// other is not read, and the connection is closed after the response.
func takeBody(w http.ResponseWriter, r *http.Request, control *http.ResponseController) error {
	if r.ContentLength == 0 {
		return nil
	}
	control.SetReadDeadline(time.Now().Add(bodyTimeout))
	if r.Method != "PROPFIND" {
		w.Header().Set("Connection", "close")
		return nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return control.SetReadDeadline(time.Time{}) // else the request would end then
}

func (e *Endpoint) allows(host string) bool {
	if e.socket != "" {
		return true // no browser opens it
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	return name == "localhost" || net.ParseIP(name) != nil || e.hosts[name]
}

// A timedWriter ends a response that the client does not read.
type timedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
