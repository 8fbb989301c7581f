package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A key of ssh-agent signs, which is named by the file of its public key: relative to the
// configuration's folder, in the home directory, or as the key itself.
func TestSigningKeyInAgent(t *testing.T) {
	p := newPlace(t)
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	ring := agent.NewKeyring()
	check(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	socket := filepath.Join(t.TempDir(), "a")
	l, err := net.Listen("unix", socket)
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				agent.ServeAgent(ring, c)
			}()
		}
	}()
	key, err := ssh.NewPublicKey(pub)
	check(t, err)
	line := ssh.MarshalAuthorizedKey(key)
	p.env = append(p.env, "SSH_AUTH_SOCK="+socket)
	write(t, filepath.Join(p.home, "id.pub"), line)
	write(t, filepath.Join(p.home, "d", "a"), []byte("a"))
	p.run(exitDone, "init")
	for i, setting := range []string{"ssh-agent:id.pub", "ssh-agent:~/id.pub", "'ssh-agent:" + string(line[:len(line)-1]) + "'"} {
		write(t, filepath.Join(p.home, "vaultpack.yaml"), []byte("signing_key: "+setting+"\n"))
		write(t, filepath.Join(p.home, "d", "a"), []byte{byte(i)})
		p.run(exitDone, "push", "./d")
	}
	out, _ := p.run(exitDone, "versions", "d", "--json")
	says(t, out, `"version":3`)
	check(t, ring.RemoveAll())
	write(t, filepath.Join(p.home, "d", "a"), []byte("more"))
	_, errs := p.run(exitFailed, "push", "./d")
	says(t, errs, "add the key with ssh-add")
	p.env = append(p.env, "SSH_AUTH_SOCK=")
	_, errs = p.run(exitFailed, "push", "./d")
	says(t, errs, "SSH_AUTH_SOCK is not set", "vaultpack.yaml")
	write(t, filepath.Join(p.home, "vaultpack.yaml"), []byte("signing_key: ssh-agent:gone.pub\n"))
	_, errs = p.run(exitFailed, "push", "./d")
	says(t, errs, "gone.pub")
	p.run(exitDone, "verify", "d")
}
