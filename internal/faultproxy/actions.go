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

// An Action deals with a request in the place of the proxy.
type Action func(*Exchange)

// Refuse answers with an error and does not do what was asked. A status of 200
// with an error in the body is what S3 gives when a CompleteMultipartUpload
// fails late.
func Refuse(status int, code string) Action {
	return func(x *Exchange) {
		io.Copy(io.Discard, x.Request.Body)
		x.Answer(failure(status, code))
	}
}

// LieThat answers with an error although what was asked is done.
func LieThat(status int, code string) Action {
	return func(x *Exchange) {
		if x.Forward() == nil {
			x.Reset()
			return
		}
		x.Answer(failure(status, code))
	}
}

// Skewed refuses a request for its time, with the server's clock differing from
// this machine's.
func Skewed(by time.Duration) Action {
	return func(x *Exchange) {
		io.Copy(io.Discard, x.Request.Body)
		r := failure(http.StatusForbidden, "RequestTimeTooSkewed")
		r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
		x.Answer(r)
	}
}

// ResetRequest resets the connection when half of the request's body has come.
func ResetRequest(x *Exchange) {
	io.CopyN(io.Discard, x.Request.Body, x.Request.ContentLength/2)
	x.Reset()
}

// LoseAnswer does what was asked, and resets the connection instead of answering.
func LoseAnswer(x *Exchange) {
	x.Forward()
	x.Reset()
}

// ResetResponse resets the connection in the midst of the answer's body.
func ResetResponse(x *Exchange) {
	r := x.Forward()
	if r != nil {
		x.half(r)
	}
	x.Reset()
}

// Truncate ends the answer in the midst of its body, in order and with the
// length of the whole in its header.
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

// Corrupt flips a bit in the middle of the answer's body.
func Corrupt(x *Exchange) {
	r := x.Forward()
	if r != nil && len(r.Body) > 0 {
		r.Body[len(r.Body)/2] ^= 1
	}
	x.Answer(r)
}

// Silence never answers, and does not do what was asked.
func Silence(x *Exchange) {
	io.Copy(io.Discard, x.Request.Body)
	x.wait()
}

// SilenceAfter does what was asked, and never answers.
func SilenceAfter(x *Exchange) {
	x.Forward()
	x.wait()
}

// Stall answers with half of the body, and then nothing more.
func Stall(x *Exchange) {
	if r := x.Forward(); r != nil {
		x.half(r)
	}
	x.wait()
}

// Change passes the request on and the answer back, changed.
func Change(change func(*Response)) Action {
	return func(x *Exchange) {
		r := x.Forward()
		if r != nil {
			change(r)
		}
		x.Answer(r)
	}
}

// half sends the head of the answer and half of its body.
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
		under.Close() // without a farewell of TLS
	}
}

func (x *Exchange) hijack() net.Conn {
	c, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil
	}
	return c
}

// failure is an error as S3 writes it.
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
