package awskms

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/vaultpack/vaultpack/envelope"
)

// flights are the calls under way. A call is shared by all who ask for the same
// while it is, and is cancelled when the last of them has gone. Its plaintext is
// copied to each and then overwritten.
type flights struct {
	mu sync.Mutex
	m  map[[32]byte]*flight
}

type flight struct {
	done    chan struct{} // closed when secret and err are set
	cancel  context.CancelFunc
	waiting int // guarded by flights.mu, as is secret once done is closed
	secret  []byte
	err     error
	thrown  *thrown
}

// A thrown is a panic of the client, for those who wait for it.
type thrown struct{ value any }

var errGoexit = errors.New("the KMS client has ended its goroutine")

// flightKey names what is asked for.
func flightKey(slot envelope.Slot, ec envelope.EncryptionContext) [32]byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(slot.Wrapped)))
	b = append(b, slot.Wrapped...)
	return sha256.Sum256(append(b, ec.Canonical()...))
}

// fly makes the call of a flight, and tells those who wait for it how it has ended.
func (fs *flights) fly(ctx context.Context, key [32]byte, f *flight, call func(context.Context) ([]byte, error)) {
	var secret []byte
	err, returned := errGoexit, false
	defer func() {
		var t *thrown
		if !returned {
			if v := recover(); v != nil {
				t = &thrown{v}
			}
		}
		fs.mu.Lock()
		defer fs.mu.Unlock()
		f.cancel()
		f.secret, f.err, f.thrown = secret, err, t
		if f.waiting == 0 {
			clear(f.secret) // nobody has waited for it
		}
		fs.land(key, f)
		close(f.done)
	}()
	secret, err = call(ctx)
	returned = true
}

// do returns what call returns. The call's context has the values of the first
// caller's ctx, and neither its deadline nor its end.
func (fs *flights) do(ctx context.Context, key [32]byte, call func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled("Decrypt", err)
	}
	fs.mu.Lock()
	f := fs.m[key]
	if f == nil {
		if fs.m == nil {
			fs.m = map[[32]byte]*flight{}
		}
		callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		fs.m[key] = f
		go fs.fly(callCtx, key, f, call)
	}
	f.waiting++
	fs.mu.Unlock()

	var err error
	select {
	case <-f.done:
	case <-ctx.Done():
		err = cancelled("Decrypt", ctx.Err())
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.waiting--
	if err == nil && f.thrown != nil {
		panic(f.thrown.value)
	}
	var secret []byte
	if err == nil {
		if err = f.err; err == nil {
			secret = bytes.Clone(f.secret)
		}
	}
	if f.waiting == 0 {
		f.cancel()
		clear(f.secret)
		fs.land(key, f) // whoever asks from now on must not join a cancelled call
	}
	return secret, err
}

func (fs *flights) land(key [32]byte, f *flight) {
	if fs.m[key] == f {
		delete(fs.m, key)
	}
}
