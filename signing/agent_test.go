package signing_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/vaultpack/vaultpack/signing"
)

// serve has an agent listen at a socket.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "a")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return socket
}

// A liar signs with another key, or in another form.
type liar struct {
	agent.Agent
	change func(*ssh.Signature, error) (*ssh.Signature, error)
}

func (l liar) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return l.change(l.Agent.Sign(key, data))
}

// What an agent signs verifies, and an agent that lies, has no such key, or does not
// answer, is an error.
func TestAgent(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]interface{ Public() any }{"Ed25519": public{edKey.Public()}, "P-256": public{ecKey.Public()}} {
		ring := agent.NewKeyring()
		var private any = edKey
		if name == "P-256" {
			private = ecKey
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
			t.Fatal(err)
		}
		pub, err := signing.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		try := func(ctx context.Context, socket string) error {
			s, err := signing.AgentKey(socket, pub)
			if err != nil {
				return err
			}
			b, err := signing.Sign(ctx, s, "t", []byte("message"))
			if err == nil {
				_, err = signing.Open(b, "t", pub)
			}
			return err
		}
		if err := try(t.Context(), serve(t, func(c net.Conn) { agent.ServeAgent(ring, c) })); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, c := range map[string]struct {
			handle func(net.Conn)
			want   string
		}{
			"no such key": {func(c net.Conn) { agent.ServeAgent(agent.NewKeyring(), c) }, "ssh-add"},
			"another message": {func(c net.Conn) {
				agent.ServeAgent(liar{ring, func(s *ssh.Signature, err error) (*ssh.Signature, error) { s.Blob[len(s.Blob)-1] ^= 1; return s, err }}, c)
			}, "another key"},
			"another type": {func(c net.Conn) {
				agent.ServeAgent(liar{ring, func(s *ssh.Signature, err error) (*ssh.Signature, error) { s.Format = "ssh-rsa"; return s, err }}, c)
			}, "of the type"},
			"no signature": {func(c net.Conn) {
				agent.ServeAgent(liar{ring, func(s *ssh.Signature, err error) (*ssh.Signature, error) { s.Blob = nil; return s, err }}, c)
			}, ""},
			"it hangs up": {func(net.Conn) {}, ""},
			"garbage":     {func(c net.Conn) { io.WriteString(c, "\x00\x00\x00\x05garbage") }, ""},
		} {
			if err := try(t.Context(), serve(t, c.handle)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := try(ctx, serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: an agent that does not answer: %v", name, err)
		}
		if err := try(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
			t.Error("no agent signs")
		}
	}
	if _, err := signing.AgentKey("", signing.GenerateKey().Public()); err == nil || !strings.Contains(err.Error(), "SSH_AUTH_SOCK") {
		t.Error(err)
	}
	if _, err := signing.AgentKey("x", signing.PublicKey{}); err == nil {
		t.Error("no key signs")
	}
}

type public struct{ key any }

func (p public) Public() any { return p.key }
