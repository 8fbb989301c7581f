package awskms

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope"
)

const misuseARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// decryptFunc is a client of which only Decrypt is called.
type decryptFunc func(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error)

func (f decryptFunc) Decrypt(ctx context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return f(ctx, in)
}

type client struct {
	API
	decryptFunc
}

func (c client) Decrypt(ctx context.Context, in *kms.DecryptInput, o ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return c.decryptFunc.Decrypt(ctx, in, o...)
}

// A panic of the client reaches each caller that waits, and the process continues.
func TestClientPanics(t *testing.T) {
	slot := envelope.Slot{Kind: SlotKind, Key: misuseARN, Wrapped: []byte("x")}
	ec := envelope.EncryptionContext{"a": "b"}
	for name, end := range map[string]func(){"panic": func() { panic("client") }, "goexit": runtime.Goexit} {
		k, err := New(t.Context(), client{decryptFunc: func(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error) {
			end()
			return nil, nil
		}}, misuseARN)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got := any(nil)
			var uerr error
			func() {
				defer func() { got = recover() }()
				_, uerr = k.Unwrap(t.Context(), slot, ec)
			}()
			if name == "panic" && got != "client" || name == "goexit" && (got != nil || !errors.Is(uerr, errGoexit)) {
				t.Errorf("%s: %v, %v", name, got, uerr)
			}
		}
	}
}

// A call that outlasts the one who asked for it does not read what is his again.
func TestContextIsTheCallers(t *testing.T) {
	begun, let := make(chan struct{}), make(chan struct{})
	seen := make(chan string, 1)
	k, err := New(t.Context(), client{decryptFunc: func(_ context.Context, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
		close(begun)
		<-let
		seen <- in.EncryptionContext["a"] + string(in.CiphertextBlob)
		return nil, errors.New("too late")
	}}, misuseARN)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ec := envelope.EncryptionContext{"a": "b"}
	slot := envelope.Slot{Kind: SlotKind, Key: misuseARN, Wrapped: []byte("x")}
	go func() {
		<-begun
		cancel()
	}()
	if _, err := k.Unwrap(ctx, slot, ec); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ec["a"], slot.Wrapped[0] = "changed", 'y'
	close(let)
	if got := <-seen; got != "bx" {
		t.Errorf("the call was made with %q", got)
	}
}

func TestZeroAndNil(t *testing.T) {
	ctx := t.Context()
	over, cancel := context.WithCancel(ctx)
	cancel()
	ec := envelope.EncryptionContext{"a": "b"}
	slot := envelope.Slot{Kind: SlotKind, Key: misuseARN, Wrapped: []byte("x")}
	whole, err := New(ctx, client{}, misuseARN)
	if err != nil {
		t.Fatal(err)
	}
	uses := func(ctx context.Context, k *Key) map[string]error {
		_, _, gerr := k.GenerateDataKey(ctx, ec)
		_, werr := k.Wrap(ctx, nil, ec)
		_, uerr := k.Unwrap(ctx, slot, ec)
		_, rerr := k.Rewrap(ctx, slot, ec, whole, ec)
		return map[string]error{"GenerateDataKey": gerr, "Wrap": werr, "Unwrap": uerr, "Rewrap": rerr}
	}
	for name, k := range map[string]*Key{"nil": nil, "zero": {}} {
		for use, err := range uses(ctx, k) {
			if !errors.Is(err, envelope.ErrKeyUnusable) {
				t.Errorf("%s of a %s key: %v", use, name, err)
			}
		}
		_, _ = k.ARN(), k.String()
	}
	for use, err := range uses(over, whole) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s after its context: %v", use, err)
		}
	}
	for use, err := range uses(nil, whole) {
		if err == nil {
			t.Errorf("%s without a context: %v", use, err)
		}
	}
	if _, err := whole.Rewrap(ctx, slot, ec, nil, ec); !errors.Is(err, envelope.ErrKeyUnusable) {
		t.Errorf("Rewrap to nil: %v", err)
	}
	var noContext context.Context
	for name, f := range map[string]func() error{
		"no client":  func() error { _, err := New(ctx, nil, misuseARN); return err },
		"no context": func() error { _, err := New(noContext, client{}, misuseARN); return err },
		"over":       func() error { _, err := New(over, client{}, misuseARN); return err },
		"nil option": func() error { _, err := New(ctx, client{}, misuseARN, nil); return err },
	} {
		if f() == nil {
			t.Errorf("New with %s succeeds", name)
		}
	}
}
