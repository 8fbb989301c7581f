package keyservice

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/envelope/envelopetest"
)

var errRefused, errStranger = errors.New("refused"), errors.New("who is that")

// Another service takes an entry in the list, and then all goes by names of its own.
func TestAnotherService(t *testing.T) {
	has := func(name string) bool { return strings.HasPrefix(name, "test://") }
	connected := 0
	before := services
	defer func() { services = before }()
	services = append(services, &service{kind: "test", named: has, fixed: has, connect: func(_ context.Context, _ Settings, calls *atomic.Int64) (opener, error) {
		connected++
		return func(_ context.Context, name string) (envelope.ServiceKey, error) {
			calls.Add(1)
			return envelopetest.NewKeyService(name), nil
		}, nil
	}, refused: func(err error) bool { return err == errRefused }, stranger: func(err error) bool { return err == errStranger }})
	c := New(Settings{})
	for i := range 2 {
		key, err := c.Key(t.Context(), "test://mine")
		if err != nil {
			t.Fatal(err)
		}
		if kind, name := key.Describe(); kind != "test" || name != "test://mine" || c.Calls() != int64(i+1) || connected != 1 {
			t.Errorf("%s %s after %d calls and %d connections", kind, name, c.Calls(), connected)
		}
	}
	for name, want := range map[string]bool{
		"test://mine": true, "alias/ml": false, "other://mine": false, "": false,
		"arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab": true,
	} {
		if got := Fixed(name); got != want {
			t.Errorf("Fixed(%q) = %v", name, got)
		}
	}
	if _, err := c.Key(t.Context(), "other://mine"); err == nil || !strings.Contains(err.Error(), "is not a key of a key service") {
		t.Errorf("a name of no service: %v", err)
	}
	for err, want := range map[error][2]bool{
		errRefused: {true, false}, errStranger: {false, true}, errors.ErrUnsupported: {},
		&awskms.Error{Reason: awskms.NotAllowed}: {true, false}, &awskms.Error{Reason: awskms.BadCredentials}: {false, true}, &awskms.Error{Reason: awskms.Disabled}: {},
	} {
		if got := [2]bool{Refused(err), Stranger(err)}; got != want {
			t.Errorf("%v: refused, stranger: %v", err, got)
		}
	}
	if !IsKind("test") || !IsKind("aws-kms") || IsKind("local") {
		t.Error("the kinds of slots differ")
	}
}
