package signing

import (
	"context"
	"crypto/ecdsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// AgentKey returns a Signer for the key with the given public key in the ssh-agent that
// listens at the socket (SSH_AUTH_SOCK). The agent makes each signature, and may ask
// the user to confirm it. Whether the agent has the key is checked only by the first
// signature.
func AgentKey(socket string, public PublicKey) (Signer, error) {
	if public.IsZero() {
		return nil, errors.New("signing: no public key")
	}
	if socket == "" {
		return nil, errors.New("no ssh-agent is running, as far as this process knows: SSH_AUTH_SOCK is not set")
	}
	key, err := ssh.NewPublicKey(public.Key())
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return &agentKey{socket, public, key}, nil
}

// AgentSocket returns the socket of this process's ssh-agent, or "" if there is none.
func AgentSocket() string { return os.Getenv("SSH_AUTH_SOCK") }

type agentKey struct {
	socket string
	public PublicKey
	key    ssh.PublicKey
}

func (k *agentKey) Public() PublicKey { return k.public }

func (k *agentKey) String() string { return "ssh-agent key " + k.public.ID().Short() }

// Sign asks the agent. The end of the context breaks the connection, so that Sign does
// not wait for an agent that does not answer.
func (k *agentKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if ctx == nil {
		return nil, errors.New("signing: the context is nil")
	}
	fail := func(err error) ([]byte, error) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("ssh-agent at %s: %w", k.socket, err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", k.socket)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sig, err := agent.NewClient(conn).Sign(k.key, message)
	if err != nil {
		return fail(fmt.Errorf("it does not sign with %s: add the key with ssh-add: %w", ssh.FingerprintSHA256(k.key), err))
	}
	raw, err := k.raw(sig)
	if err == nil && k.public.Verify(message, raw) != nil {
		err = errors.New("it has signed with another key")
	}
	if err != nil {
		return fail(err)
	}
	return raw, nil
}

// raw returns the signature in the form that [PublicKey.Verify] accepts: RFC 8709
// section 6 and RFC 5656 section 3.1.2 specify the agent's form.
func (k *agentKey) raw(sig *ssh.Signature) ([]byte, error) {
	if sig.Format != k.key.Type() {
		return nil, fmt.Errorf("its signature is of the type %q", sig.Format)
	}
	if _, ok := k.public.Key().(*ecdsa.PublicKey); !ok {
		return sig.Blob, nil
	}
	var v struct{ R, S *big.Int }
	if err := ssh.Unmarshal(sig.Blob, &v); err != nil {
		return nil, errors.New("its signature cannot be read")
	}
	return asn1.Marshal(v)
}
