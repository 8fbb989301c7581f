package awskms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/logging"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

const region = "eu-west-1"

var (
	ctx = context.Background()
	ec  = envelope.EncryptionContext{envelope.ContextDataset: "digits", "project": "p"}
)

// once is for tests that look at single attempts.
func once(o *kms.Options) { o.Retryer = aws.NopRetryer{} }

// newKey makes a key of the server and the Key of its ARN.
func newKey(t testing.TB, srv *kmstest.Server, region string, opts ...awskms.Option) *awskms.Key {
	t.Helper()
	client := srv.Client(region, "alice", once)
	out, err := client.CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(len(opts) > 0)})
	if err != nil {
		t.Fatal(err)
	}
	k, err := awskms.New(ctx, client, *out.KeyMetadata.Arn, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func count(srv *kmstest.Server, op string) int { return len(srv.Calls(op)) }

// Through HTTP, as against AWS: one call makes a keyring, one adds a key, one
// opens it, and each carries the context.
func TestKeyring(t *testing.T) {
	srv := kmstest.NewServer()
	hs := httptest.NewServer(srv)
	defer hs.Close()
	client := awskms.NewClient(aws.Config{Region: region, BaseEndpoint: aws.String(hs.URL),
		Credentials: credentials.NewStaticCredentialsProvider("alice", "x", "")})
	var keys []*awskms.Key
	for range 2 {
		out, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
		if err != nil {
			t.Fatal(err)
		}
		k, err := awskms.New(ctx, client, *out.KeyMetadata.Arn)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	srv.ResetCalls()
	ring, made, err := envelope.NewKeyring(ctx, ec, keys[0], keys[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		got, err := ring.Unwrap(ctx, ec, k)
		if err != nil || got.ID() != made.ID() {
			t.Errorf("opening with %v: %v", k, err)
		}
	}
	want := map[string]string{envelope.ContextDataset: "digits", "project": "p", envelope.ContextKeyID: made.ID().String()}
	var ops []string
	for _, c := range srv.Calls() {
		ops = append(ops, c.Operation)
		if fmt.Sprint(c.EncryptionContext) != fmt.Sprint(want) || !awskms.IsKeyARN(c.KeyID) {
			t.Errorf("%s of key %q with context %v", c.Operation, c.KeyID, c.EncryptionContext)
		}
	}
	if fmt.Sprint(ops) != "[GenerateDataKey Encrypt Decrypt Decrypt]" {
		t.Errorf("calls: %v", ops)
	}
	for i, s := range ring.Slots() {
		if s.Kind != "aws-kms" || s.Key != keys[i].ARN() {
			t.Errorf("slot %d is %s %s", i, s.Kind, s.Key)
		}
	}
	for _, wrong := range []envelope.EncryptionContext{nil, {envelope.ContextDataset: "faces", "project": "p"}, {envelope.ContextDataset: "digits"}} {
		if _, err := ring.Unwrap(ctx, wrong, keys[0]); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("with the context %v: %v", wrong, err)
		}
	}
}

// Whatever is done to a slot opens nothing and makes no call to another key.
func TestUnwrapOfOtherSlots(t *testing.T) {
	srv := kmstest.NewServer()
	a, b := newKey(t, srv, region), newKey(t, srv, region)
	_, slot, err := a.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	short, err := a.Wrap(ctx, []byte("not a data key"), ec)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(slot.Wrapped)
	changed[len(changed)-1] ^= 1
	stranger := strings.Replace(a.ARN(), kmstest.Account, "999999999999", 1)
	elsewhere := strings.Replace(a.ARN(), region, "us-east-1", 1)
	for _, c := range []struct {
		what  string
		slot  envelope.Slot
		err   error
		calls int
	}{
		{"another kind", envelope.Slot{Kind: "local", Key: slot.Key, Wrapped: slot.Wrapped}, envelope.ErrNoSlot, 0},
		{"another key", envelope.Slot{Kind: slot.Kind, Key: b.ARN(), Wrapped: slot.Wrapped}, envelope.ErrNoSlot, 0},
		{"another account", envelope.Slot{Kind: slot.Kind, Key: stranger, Wrapped: slot.Wrapped}, envelope.ErrNoSlot, 0},
		{"another Region", envelope.Slot{Kind: slot.Kind, Key: elsewhere, Wrapped: slot.Wrapped}, envelope.ErrNoSlot, 0},
		{"a bare key ID", envelope.Slot{Kind: slot.Kind, Key: a.ARN()[len(a.ARN())-36:], Wrapped: slot.Wrapped}, envelope.ErrNoSlot, 0},
		{"nothing wrapped", envelope.Slot{Kind: slot.Kind, Key: slot.Key}, envelope.ErrAuthentication, 0},
		{"more than KMS takes", envelope.Slot{Kind: slot.Kind, Key: slot.Key, Wrapped: make([]byte, 6145)}, envelope.ErrAuthentication, 0},
		{"a changed byte", envelope.Slot{Kind: slot.Kind, Key: slot.Key, Wrapped: changed}, envelope.ErrAuthentication, 1},
		{"something else in it", short, envelope.ErrAuthentication, 1},
		{"nothing done to it", slot, nil, 1},
	} {
		srv.ResetCalls()
		if _, err := a.Unwrap(ctx, c.slot, ec); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.what, err, c.err)
		}
		if n := len(srv.Calls()); n != c.calls {
			t.Errorf("%s: %d calls, want %d", c.what, n, c.calls)
		}
	}
	// A ciphertext of another key under this key's name: IncorrectKeyException.
	_, foreign, err := b.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	foreign.Key = a.ARN()
	if _, err := a.Unwrap(ctx, foreign, ec); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a ciphertext of another key: %v", err)
	}
	if c := srv.Calls("Decrypt"); c[len(c)-1].Error != "IncorrectKeyException" {
		t.Errorf("the server said %q", c[len(c)-1].Error)
	}
	srv.ResetCalls()
	if _, err := a.Unwrap(ctx, slot, nil); err == nil || len(srv.Calls()) > 0 {
		t.Errorf("without a context: %v, %d calls", err, len(srv.Calls()))
	}
	if _, err := a.Wrap(ctx, make([]byte, 32), nil); err == nil {
		t.Error("a data key was wrapped without a context")
	}
}

func TestNamesAreResolvedOnce(t *testing.T) {
	srv := kmstest.NewServer()
	want, other := newKey(t, srv, region), newKey(t, srv, region)
	client := srv.Client(region, "alice", once)
	if _, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/data"), TargetKeyId: aws.String(want.ARN())}); err != nil {
		t.Fatal(err)
	}
	id := want.ARN()[len(want.ARN())-36:]
	aliasARN := strings.Replace(want.ARN(), "key/"+id, "alias/data", 1)
	for _, c := range []struct {
		name, region string
		describes    int
	}{
		{want.ARN(), region, 0}, {want.ARN(), "us-east-1", 0}, {"alias/data", region, 1}, {id, region, 1},
		{aliasARN, region, 1}, {aliasARN, "us-east-1", 1},
	} {
		srv.ResetCalls()
		k, err := awskms.New(ctx, srv.Client(c.region, "alice", once), c.name)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		_, slot, err := k.GenerateDataKey(ctx, ec)
		if err == nil {
			_, err = k.Unwrap(ctx, slot, ec)
		}
		if err != nil || slot.Key != want.ARN() || count(srv, "DescribeKey") != c.describes {
			t.Errorf("%s: slot of %s, %d DescribeKey, %v", c.name, slot.Key, count(srv, "DescribeKey"), err)
		}
		for _, call := range srv.Calls("GenerateDataKey", "Decrypt") {
			if call.Region != region || call.KeyID != want.ARN() {
				t.Errorf("%s: %s went to %s, key %s", c.name, call.Operation, call.Region, call.KeyID)
			}
		}
	}
	// The alias is moved: data keys made before do not follow it.
	k, err := awskms.New(ctx, client, "alias/data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: aws.String("alias/data"), TargetKeyId: aws.String(other.ARN())}); err != nil {
		t.Fatal(err)
	}
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil || slot.Key != want.ARN() {
		t.Errorf("after the alias was moved: %s, %v", slot.Key, err)
	}
	for _, bad := range []string{"", "alias/", "alias/none", "00000000-0000-0000-0000-000000000000", "arn:aws:s3:::bucket",
		"arn:aws:kms:eu-west-1:111122223333:key/", "a key", want.ARN() + "\n", "arn:aws:kms:eu-west-1:111122223333:key/a/b"} {
		if _, err := awskms.New(ctx, client, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	hmac, err := client.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: "HMAC_256", KeyUsage: "GENERATE_VERIFY_MAC"})
	if err != nil {
		t.Fatal(err)
	}
	var e *awskms.Error
	if _, err := awskms.New(ctx, client, *hmac.KeyMetadata.KeyId); !errors.As(err, &e) || e.Reason != awskms.Unsuitable {
		t.Errorf("an HMAC key: %v", err)
	}
}

func TestRelatedKeys(t *testing.T) {
	srv := kmstest.NewServer()
	primary := newKey(t, srv, region, awskms.AcceptRelated())
	client := srv.Client(region, "alice", once)
	if _, err := client.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: aws.String(primary.ARN()), ReplicaRegion: aws.String("us-east-1")}); err != nil {
		t.Fatal(err)
	}
	replica := strings.Replace(primary.ARN(), region, "us-east-1", 1)
	_, slot, err := primary.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	strictly, err := awskms.New(ctx, client, replica)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strictly.Unwrap(ctx, slot, ec); !errors.Is(err, envelope.ErrNoSlot) {
		t.Errorf("a related key that is not to be accepted: %v", err)
	}
	related, err := awskms.New(ctx, client, replica, awskms.AcceptRelated())
	if err != nil {
		t.Fatal(err)
	}
	srv.ResetCalls()
	if _, err := related.Unwrap(ctx, slot, ec); err != nil {
		t.Errorf("a related key: %v", err)
	}
	if c := srv.Calls(); len(c) != 1 || c[0].Region != "us-east-1" || c[0].KeyID != replica {
		t.Errorf("the calls were %+v", c)
	}
	for _, other := range []string{strings.Replace(slot.Key, kmstest.Account, "999999999999", 1),
		strings.Replace(slot.Key, "arn:aws:", "arn:aws-cn:", 1), slot.Key + "0"} {
		slot.Key = other
		if _, err := related.Unwrap(ctx, slot, ec); !errors.Is(err, envelope.ErrNoSlot) {
			t.Errorf("%s is taken for a related key: %v", other, err)
		}
	}
	if _, err := awskms.New(ctx, client, newKey(t, srv, region).ARN(), awskms.AcceptRelated()); err == nil {
		t.Error("a single-Region key has related keys")
	}
}

func TestRewrap(t *testing.T) {
	srv := kmstest.NewServer()
	from, to, far := newKey(t, srv, region), newKey(t, srv, region), newKey(t, srv, "us-east-1")
	secret, slot, err := from.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	toEC := envelope.EncryptionContext{envelope.ContextDataset: "digits", "owner": "new"}
	srv.ResetCalls()
	moved, err := from.Rewrap(ctx, slot, ec, to, toEC)
	if err != nil {
		t.Fatal(err)
	}
	c := srv.Calls()
	if len(c) != 1 || c[0].Operation != "ReEncrypt" || c[0].SourceKeyID != from.ARN() || c[0].KeyID != to.ARN() ||
		c[0].SourceContext["project"] != "p" || c[0].EncryptionContext["owner"] != "new" {
		t.Errorf("the calls were %+v", c)
	}
	if got, err := to.Unwrap(ctx, moved, toEC); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("after the move: %v", err)
	}
	if _, err := to.Unwrap(ctx, moved, ec); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("with the old context: %v", err)
	}
	srv.ResetCalls()
	var e *awskms.Error
	if _, err := from.Rewrap(ctx, slot, ec, far, ec); !errors.As(err, &e) || e.Reason != awskms.WrongRegion || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("to another Region: %v", err)
	}
	if _, err := from.Rewrap(ctx, slot, ec, envelope.GenerateLocalKey(), ec); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("to a key that is in no KMS: %v", err)
	}
	if _, err := to.Rewrap(ctx, slot, ec, from, ec); !errors.Is(err, envelope.ErrNoSlot) {
		t.Errorf("another key's slot: %v", err)
	}
	if n := len(srv.Calls()); n > 0 {
		t.Errorf("%d calls where there is nothing to call for", n)
	}
	if _, err := from.Rewrap(ctx, slot, toEC, to, toEC); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("with another context: %v", err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Principal":"*","Action":"kms:ReEncryptTo","Resource":"*"}]}`
	if _, err := srv.Client(region, "alice").PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: aws.String(to.ARN()), Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Rewrap(ctx, slot, ec, to, ec); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "kms:ReEncryptTo on") {
		t.Errorf("without kms:ReEncryptTo: %v", err)
	}
}

// A dataset opens with any one slot while the others cannot be reached, and what
// is said of them is not lost when none opens.
func TestSecondKeyOpens(t *testing.T) {
	srv := kmstest.NewServer()
	a, b := newKey(t, srv, region), newKey(t, srv, "us-east-1")
	ring, made, err := envelope.NewKeyring(ctx, ec, a, b)
	if err != nil {
		t.Fatal(err)
	}
	disable := func(k *awskms.Key, region string) {
		if _, err := srv.Client(region, "alice").DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String(k.ARN())}); err != nil {
			t.Fatal(err)
		}
	}
	srv.Fail("Decrypt", 1, kmstest.Fault{Drop: true})
	if got, err := ring.Unwrap(ctx, ec, a, b); err != nil || got.ID() != made.ID() {
		t.Errorf("with the first unreachable: %v", err)
	}
	disable(a, region)
	if got, err := ring.Unwrap(ctx, ec, a, b); err != nil || got.ID() != made.ID() {
		t.Errorf("with the first disabled: %v", err)
	}
	disable(b, "us-east-1")
	_, err = ring.Unwrap(ctx, ec, a, b)
	if err == nil || !strings.Contains(err.Error(), a.ARN()) || !strings.Contains(err.Error(), b.ARN()) {
		t.Errorf("with both disabled: %v", err)
	}
	if srv.Unmet() != 0 {
		t.Error("a fault was not met")
	}
}

// Rotation and re-enabling at KMS change nothing for slots made before.
func TestOldMaterialOpens(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Client(region, "alice").RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: aws.String(k.ARN())}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(ctx, slot, ec); err != nil {
		t.Error(err)
	}
}

func TestSingleFlight(t *testing.T) {
	const n = 50
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	secret, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	srv.Fail("Decrypt", 1, kmstest.Fault{Delay: 300 * time.Millisecond})
	got := make([][]byte, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			if got[i], err = k.Unwrap(ctx, slot, ec); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range n {
		if !bytes.Equal(got[i], secret) {
			t.Fatalf("goroutine %d got another key", i)
		}
		clear(got[i]) // its own copy: the next must not see this
	}
	if c := count(srv, "Decrypt"); c != 1 {
		t.Errorf("%d calls for %d goroutines", c, n)
	}
	if _, err := k.Unwrap(ctx, slot, ec); err != nil || count(srv, "Decrypt") != 2 {
		t.Errorf("afterwards: %v, %d calls: nothing may be kept", err, count(srv, "Decrypt"))
	}

	// Other contexts are other calls.
	srv.ResetCalls()
	srv.Fail("Decrypt", 2, kmstest.Fault{Delay: 100 * time.Millisecond})
	wg.Go(func() { k.Unwrap(ctx, slot, ec) })
	wg.Go(func() { k.Unwrap(ctx, slot, envelope.EncryptionContext{"a": "b"}) })
	wg.Wait()
	if c := count(srv, "Decrypt"); c != 2 {
		t.Errorf("%d calls for two contexts", c)
	}
}

// One of two who wait goes: the call goes on for the other. The last goes: the
// call ends, and the next who asks gets a call of its own.
func TestCancelledFlight(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	srv.Fail("Decrypt", 1, kmstest.Fault{Delay: 500 * time.Millisecond})
	impatient, cancel := context.WithCancel(ctx)
	gone, opened := make(chan error), make(chan error)
	go func() { _, err := k.Unwrap(impatient, slot, ec); gone <- err }()
	for srv.Unmet() > 0 { // until the call is under way
		time.Sleep(time.Millisecond)
	}
	go func() { _, err := k.Unwrap(ctx, slot, ec); opened <- err }()
	time.Sleep(50 * time.Millisecond) // for the second to join; without it the test still passes
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who went: %v", err)
	}
	if err := <-opened; err != nil {
		t.Errorf("the one who stayed: %v", err)
	}

	srv.Fail("Decrypt", 1, kmstest.Fault{Delay: time.Hour})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := k.Unwrap(short, slot, ec); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	ended := func() bool {
		c := srv.Calls("Decrypt")
		return c[len(c)-1].Error == "dropped"
	}
	for end := time.Now().Add(10 * time.Second); !ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the call that nobody waits for goes on")
		}
	}
	if _, err := k.Unwrap(ctx, slot, ec); err != nil {
		t.Errorf("after a cancelled call: %v", err)
	}
	for _, call := range []func(context.Context) error{
		func(c context.Context) error { _, err := k.Unwrap(c, slot, ec); return err },
		func(c context.Context) error { _, _, err := k.GenerateDataKey(c, ec); return err },
		func(c context.Context) error { _, err := k.Wrap(c, make([]byte, 32), ec); return err },
		func(c context.Context) error { _, err := k.Rewrap(c, slot, ec, k, ec); return err },
		func(c context.Context) error {
			_, err := awskms.New(c, srv.Client(region, "alice"), "alias/a")
			return err
		},
	} {
		if err := call(impatient); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	}
}

// A call that was cancelled may take its time to end. Nobody joins it.
func TestNobodyJoinsACancelledFlight(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	slow := &stubborn{API: srv.Client(region, "alice"), release: make(chan struct{})}
	defer close(slow.release)
	if k, err = awskms.New(ctx, slow, k.ARN()); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := k.Unwrap(short, slot, ec); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("past the deadline: %v", err)
	}
	long, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := k.Unwrap(long, slot, ec); err != nil {
		t.Errorf("while the cancelled call goes on: %v", err)
	}
}

// A stubborn client does not end its first Decrypt when it is told to.
type stubborn struct {
	awskms.API
	release chan struct{}
	first   atomic.Bool
}

func (s *stubborn) Decrypt(ctx context.Context, in *kms.DecryptInput, o ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	if s.first.CompareAndSwap(false, true) {
		<-s.release
	}
	return s.API.Decrypt(ctx, in, o...)
}

func TestRetries(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	fast := retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 5
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
	again, err := awskms.New(ctx, srv.Client(region, "alice", func(o *kms.Options) { o.Retryer = fast }), k.ARN())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []kmstest.Fault{{Code: "ThrottlingException"}, {Code: "KMSInternalException"}, {Code: "DependencyTimeoutException"},
		{Code: "KeyUnavailableException"}, {Drop: true}} {
		srv.ResetCalls()
		srv.Fail("Decrypt", 4, f)
		if _, err := again.Unwrap(ctx, slot, ec); err != nil || count(srv, "Decrypt") != 5 || srv.Unmet() != 0 {
			t.Errorf("%+v four times: %v, %d calls", f, err, count(srv, "Decrypt"))
		}
	}
	for _, code := range []string{"AccessDeniedException", "DisabledException", "NotFoundException", "KMSInvalidStateException"} {
		srv.ResetCalls()
		srv.Fail("Decrypt", 1, kmstest.Fault{Code: code})
		if _, err := again.Unwrap(ctx, slot, ec); err == nil || count(srv, "Decrypt") != 1 {
			t.Errorf("%s: %v, %d calls", code, err, count(srv, "Decrypt"))
		}
	}
	// The client of this package, whose five attempts the environment can change.
	attempts := func(cfg aws.Config) int { return awskms.NewClient(cfg).Options().Retryer.MaxAttempts() }
	if n := attempts(aws.Config{}); n != 5 {
		t.Errorf("%d attempts", n)
	}
	if n := attempts(aws.Config{RetryMaxAttempts: 2}); n != 2 {
		t.Errorf("%d attempts where 2 were asked for", n)
	}
	c := awskms.NewClient(aws.Config{}).Options().HTTPClient.(*awshttp.BuildableClient)
	if d := c.GetTransport().ResponseHeaderTimeout; d != 15*time.Second {
		t.Errorf("an attempt waits %v for an answer", d)
	}
}

// An answer that is not of the key asked for is no answer.
func TestAnswersOfOtherKeys(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(k.ARN(), kmstest.Account, "999999999999", 1)
	for _, keyID := range []*string{nil, &other, aws.String(k.ARN()[len(k.ARN())-36:])} {
		lying := &liar{API: srv.Client(region, "alice"), keyID: keyID}
		l, err := awskms.New(ctx, lying, k.ARN())
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, err error) {
			t.Helper()
			var e *awskms.Error
			if !errors.As(err, &e) || e.Reason != awskms.WrongAnswer {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, _, err = l.GenerateDataKey(ctx, ec)
		check("GenerateDataKey", err)
		_, err = l.Wrap(ctx, make([]byte, 32), ec)
		check("Wrap", err)
		_, err = l.Unwrap(ctx, slot, ec)
		check("Unwrap", err)
		_, err = l.Rewrap(ctx, slot, ec, l, ec)
		check("Rewrap", err)
		for _, b := range lying.seen {
			if !bytes.Equal(b, make([]byte, len(b))) {
				t.Error("a data key that was not returned is still in memory")
			}
		}
		if len(lying.seen) != 2 {
			t.Errorf("%d data keys were seen", len(lying.seen))
		}
	}
}

// A liar answers with another KeyId, and keeps the plaintexts' buffers.
type liar struct {
	awskms.API
	keyID *string
	seen  [][]byte
}

func (l *liar) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, o ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	out, err := l.API.GenerateDataKey(ctx, in, o...)
	out.KeyId, l.seen = l.keyID, append(l.seen, out.Plaintext)
	return out, err
}

func (l *liar) Encrypt(ctx context.Context, in *kms.EncryptInput, o ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	out, err := l.API.Encrypt(ctx, in, o...)
	out.KeyId = l.keyID
	return out, err
}

func (l *liar) Decrypt(ctx context.Context, in *kms.DecryptInput, o ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	out, err := l.API.Decrypt(ctx, in, o...)
	out.KeyId, l.seen = l.keyID, append(l.seen, out.Plaintext)
	return out, err
}

func (l *liar) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, o ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	out, err := l.API.ReEncrypt(ctx, in, o...)
	out.SourceKeyId = l.keyID
	return out, err
}

// The SDK's own buffers of plaintext are overwritten once they have been copied.
func TestPlaintextIsOverwritten(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	secret, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	keeper := &liar{API: srv.Client(region, "alice"), keyID: aws.String(k.ARN())}
	l, err := awskms.New(ctx, keeper, k.ARN())
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Unwrap(ctx, slot, ec)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatal(err)
	}
	if len(keeper.seen) != 1 || !bytes.Equal(keeper.seen[0], make([]byte, 32)) {
		t.Error("the answer's buffer still holds the data key")
	}
}

// Neither logs nor errors tell a data key, whatever the client is set to log and
// whatever the server answers.
func TestDataKeysAreNotTold(t *testing.T) {
	srv := kmstest.NewServer()
	var log bytes.Buffer
	client := srv.Client(region, "alice", once, func(o *kms.Options) {
		o.ClientLogMode = aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogRequest
		o.Logger = logging.NewStandardLogger(&log)
	})
	k, err := awskms.New(ctx, client, newKey(t, srv, region).ARN())
	if err != nil {
		t.Fatal(err)
	}
	secret, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Wrap(ctx, secret, ec); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(ctx, slot, ec); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "TrentService.Decrypt") {
		t.Fatal("nothing was logged")
	}
	text := base64.StdEncoding.EncodeToString(secret)
	if strings.Contains(log.String(), text) {
		t.Error("the log has the data key")
	}
	for _, body := range []string{
		`{"KeyId":"` + k.ARN() + `","Plaintext":"` + text[:20],
		`{"KeyId":"` + k.ARN() + `","Plaintext":["` + text + `"]}`,
		`{"KeyId":"` + k.ARN() + `","Plaintext":"` + text + `!"}`,
		`"` + text + `"`,
		text,
	} {
		client := srv.Client(region, "alice", once, func(o *kms.Options) { o.HTTPClient = canned(body) })
		k, err := awskms.New(ctx, client, k.ARN())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Unwrap(ctx, slot, ec); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), text[:12]) {
			t.Errorf("the answer %s: %v", body, err)
		}
	}
}

type canned string

func (c canned) Do(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.WriteString(string(c))
	return w.Result(), nil
}

func TestErrors(t *testing.T) {
	srv := kmstest.NewServer()
	k := newKey(t, srv, region)
	_, slot, err := k.GenerateDataKey(ctx, ec)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fault  kmstest.Fault
		reason awskms.Reason
		say    string
	}{
		{kmstest.Fault{Code: "AccessDeniedException"}, awskms.NotAllowed, "kms:Decrypt (" + k.ARN() + ")"},
		{kmstest.Fault{Code: "InvalidGrantTokenException"}, awskms.NotAllowed, "kms:Decrypt"},
		{kmstest.Fault{Code: "ExpiredTokenException"}, awskms.BadCredentials, "credentials"},
		{kmstest.Fault{Code: "UnrecognizedClientException"}, awskms.BadCredentials, "credentials"},
		{kmstest.Fault{Code: "InvalidSignatureException", Message: "Signature expired"}, awskms.BadCredentials, "clock"},
		{kmstest.Fault{Code: "IncompleteSignatureException"}, awskms.BadCredentials, "credentials"},
		{kmstest.Fault{Code: "MissingAuthenticationTokenException"}, awskms.BadCredentials, "credentials"},
		{kmstest.Fault{Code: "DisabledException", Message: k.ARN() + " is disabled."}, awskms.Disabled, "kms:EnableKey"},
		{kmstest.Fault{Code: "DisabledException", Message: k.ARN() + " is pending deletion."}, awskms.PendingDeletion, "kms:CancelKeyDeletion"},
		{kmstest.Fault{Code: "KMSInvalidStateException", Message: k.ARN() + " is pending deletion."}, awskms.PendingDeletion, "kms:CancelKeyDeletion"},
		{kmstest.Fault{Code: "KMSInvalidStateException", Message: k.ARN() + " is pending replica deletion."}, awskms.PendingDeletion, "kms:CancelKeyDeletion"},
		{kmstest.Fault{Code: "KMSInvalidStateException", Message: k.ARN() + " is pending import."}, awskms.BadState, "KeyState"},
		{kmstest.Fault{Code: "KMSInvalidStateException", Message: k.ARN() + " is unavailable."}, awskms.BadState, "is unavailable"},
		{kmstest.Fault{Code: "KMSInvalidStateException", Message: k.ARN() + " is creating."}, awskms.BadState, "is creating"},
		{kmstest.Fault{Code: "NotFoundException", Message: "Key '" + k.ARN() + "' does not exist"}, awskms.NotFound, "spelling"},
		{kmstest.Fault{Code: "NotFoundException", Message: "Invalid arn us-east-1"}, awskms.WrongRegion, "AWS_ENDPOINT_URL_KMS"},
		{kmstest.Fault{Code: "InvalidKeyUsageException"}, awskms.Unsuitable, "SYMMETRIC_DEFAULT"},
		{kmstest.Fault{Code: "UnsupportedOperationException"}, awskms.Unsuitable, "SYMMETRIC_DEFAULT"},
		{kmstest.Fault{Code: "ThrottlingException"}, awskms.Throttled, "quota"},
		{kmstest.Fault{Code: "LimitExceededException"}, awskms.Throttled, "quota"},
		{kmstest.Fault{Code: "KMSInternalException"}, awskms.Unavailable, "try again"},
		{kmstest.Fault{Code: "KeyUnavailableException"}, awskms.Unavailable, "try again"},
		{kmstest.Fault{Code: "DependencyTimeoutException"}, awskms.Unavailable, "try again"},
		{kmstest.Fault{Code: "SomethingNewException", Status: 500}, awskms.Unavailable, "SomethingNew"},
		{kmstest.Fault{Code: "SomethingNewException"}, awskms.Refused, "SomethingNew"},
		{kmstest.Fault{Drop: true}, awskms.Unavailable, "try again"},
		{kmstest.Fault{Code: "ValidationException", Message: "\x1b[2J\nboo"}, awskms.Refused, "boo"},
	} {
		srv.Fail("Decrypt", 1, c.fault)
		_, err := k.Unwrap(ctx, slot, ec)
		var e *awskms.Error
		if !errors.As(err, &e) || e.Reason != c.reason || e.Op != "Decrypt" || e.KeyARN != k.ARN() || e.Code != c.fault.Code {
			t.Errorf("%+v: %#v", c.fault, err)
			continue
		}
		if !strings.Contains(err.Error(), c.say) || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%+v: the message does not say %q: %v", c.fault, c.say, err)
		}
		if got := errors.Is(err, fs.ErrPermission); got != (c.reason == awskms.NotAllowed || c.reason == awskms.BadCredentials) {
			t.Errorf("%+v: fs.ErrPermission is %v", c.fault, got)
		}
		if errors.Is(err, envelope.ErrAuthentication) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v is taken for something else", c.fault)
		}
	}
	for _, code := range []string{"InvalidCiphertextException", "IncorrectKeyException"} {
		srv.Fail("Decrypt", 1, kmstest.Fault{Code: code, Message: "details"})
		if _, err := k.Unwrap(ctx, slot, ec); err != envelope.ErrAuthentication {
			t.Errorf("%s: %v", code, err)
		}
	}
	if srv.Unmet() != 0 {
		t.Errorf("%d faults were not met", srv.Unmet())
	}
	// The same, from keys and policies that are so, one for each operation.
	for _, op := range []string{"GenerateDataKey", "Encrypt", "Decrypt", "ReEncryptFrom", "DescribeKey"} {
		srv.SetIAM("arn:aws:iam::"+kmstest.Account+":user/bob", slices.DeleteFunc([]string{"kms:GenerateDataKey", "kms:Encrypt",
			"kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey"}, func(a string) bool { return a == "kms:"+op })...)
		bob, err := awskms.New(ctx, srv.Client(region, "bob", once), k.ARN())
		if err != nil {
			t.Fatal(err)
		}
		errs := map[string]error{}
		_, _, errs["GenerateDataKey"] = bob.GenerateDataKey(ctx, ec)
		_, errs["Encrypt"] = bob.Wrap(ctx, make([]byte, 32), ec)
		_, errs["Decrypt"] = bob.Unwrap(ctx, slot, ec)
		_, errs["ReEncryptFrom"] = bob.Rewrap(ctx, slot, ec, bob, ec)
		_, errs["DescribeKey"] = awskms.New(ctx, srv.Client(region, "bob", once), k.ARN()[len(k.ARN())-36:])
		for name, err := range errs {
			if name != op && err != nil || name == op && (!errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "no identity-based policy allows the kms:"+op)) {
				t.Errorf("without kms:%s, %s: %v", op, name, err)
			}
		}
	}
}
