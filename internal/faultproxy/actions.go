package faultproxy

import (
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// An Action handles a request in place of the proxy.
type Action func(*Exchange)

// Refuse answers with an error and does not perform the request. S3 answers with
// status 200 and an error in the body when a CompleteMultipartUpload fails late.
func Refuse(status int, code string) Action {
	return func(x *Exchange) {
		io.Copy(io.Discard, x.Request.Body)
		x.Answer(failure(status, code))
	}
}

// LieThat performs the request, but answers with an error.
func LieThat(status int, code string) Action {
	return func(x *Exchange) {
		if x.Forward() == nil {
			x.Reset()
			return
		}
		x.Answer(failure(status, code))
	}
}

// Skewed refuses a request because of its time, as a server does whose clock
// differs from this machine's.
func Skewed(by time.Duration) Action {
	return func(x *Exchange) {
		io.Copy(io.Discard, x.Request.Body)
		r := failure(http.StatusForbidden, "RequestTimeTooSkewed")
		r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
		x.Answer(r)
	}
}

// ResetRequest resets the connection when half of the request's body has arrived.
func ResetRequest(x *Exchange) {
	io.CopyN(io.Discard, x.Request.Body, x.Request.ContentLength/2)
	x.Reset()
}

// LoseAnswer performs the request, and resets the connection instead of answering.
func LoseAnswer(x *Exchange) {
	x.Forward()
	x.Reset()
}

// ResetResponse resets the connection in the middle of the response body.
func ResetResponse(x *Exchange) {
	r := x.Forward()
	if r != nil {
		x.half(r)
	}
	x.Reset()
}

// Truncate ends the response in the middle of its body, closing the connection
// normally, with the full length in the header.
func Truncate(x *Exchange) {
	r := x.Forward()
	if r == nil {
		x.Reset()
		return
	}
	x.half(r)
	if c := x.hijack(); c != nil {
		c.Close()
	}
}

// Corrupt flips a bit in the middle of the response body.
func Corrupt(x *Exchange) {
	r := x.Forward()
	if r != nil && len(r.Body) > 0 {
		r.Body[len(r.Body)/2] ^= 1
	}
	x.Answer(r)
}

// Silence never answers, and does not perform the request.
func Silence(x *Exchange) {
	io.Copy(io.Discard, x.Request.Body)
	x.wait()
}

// SilenceAfter performs the request, and never answers.
func SilenceAfter(x *Exchange) {
	x.Forward()
	x.wait()
}

// Stall sends half of the response body, and then nothing more.
func Stall(x *Exchange) {
	if r := x.Forward(); r != nil {
		x.half(r)
	}
	x.wait()
}

// Change forwards the request, and sends back the response with changes.
func Change(change func(*Response)) Action {
	return func(x *Exchange) {
		r := x.Forward()
		if r != nil {
			change(r)
		}
		x.Answer(r)
	}
}

// half sends the header of the response and half of its body.
func (x *Exchange) half(r *Response) {
	x.begin(r)
	x.w.Write(r.Body[:len(r.Body)/2])
	http.NewResponseController(x.w).Flush()
}

// wait until the client or the test gives up.
func (x *Exchange) wait() {
	select {
	case <-x.Request.Context().Done():
	case <-x.p.done:
	}
	panic(http.ErrAbortHandler)
}

// Reset ends the connection with a RST.
func (x *Exchange) Reset() {
	if c := x.hijack(); c != nil {
		under := c
		if t, ok := c.(*tls.Conn); ok {
			under = t.NetConn()
		}
		if tcp, ok := under.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		under.Close() // without TLS's close_notify
	}
}

func (x *Exchange) hijack() net.Conn {
	c, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil
	}
	return c
}

// failure is an error in S3's format.
func failure(status int, code string) *Response {
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: "scripted"})
	if err != nil {
		panic(err)
	}
	h := http.Header{}
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", fmt.Sprint(len(body)))
	return &Response{Status: status, Header: h, Body: body}
}
