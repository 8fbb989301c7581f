package provision_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/provision"
)

// A faulty transport fails the nth request that changes something: before it is
// sent, or with its answer lost.
type faulty struct {
	at     int
	when   string // only requests that begin so count
	sent   bool   // fail after it was done
	answer string // fail with this error of KMS, not at all with the connection
	writes int
	what   string
	// ownerless are requests to a bucket that do not say whose it has to be.
	ownerless []string
}

var errCut = errors.New("the connection was cut")

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(nil)
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	what := ""
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		what = form.Get("Action")
	} else if t := r.Header.Get("X-Amz-Target"); t != "" {
		what = t[strings.Index(t, ".")+1:]
	} else if r.Method == http.MethodPut {
		what = "PUT " + r.URL.Path + "?" + r.URL.RawQuery
	}
	if s3 := what == "" || strings.HasPrefix(what, "PUT"); s3 && !bytes.Contains(body, []byte("<CreateBucketConfiguration")) &&
		r.Header.Get("X-Amz-Expected-Bucket-Owner") != "123456789012" {
		f.ownerless = append(f.ownerless, r.Method+" "+r.URL.String())
	}
	change := strings.HasPrefix(what, "PUT")
	for _, verb := range []string{"Create", "Put", "Update", "Enable", "Tag"} {
		change = change || strings.HasPrefix(what, verb)
	}
	change = change && strings.HasPrefix(what, f.when)
	if change {
		f.writes++
	}
	if change && f.writes == f.at {
		f.what = what
		if f.answer != "" {
			return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
				Body: io.NopCloser(strings.NewReader(f.answer)), Request: r}, nil
		}
		if !f.sent {
			return nil, errCut
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte("<CreateBucketConfiguration")) {
		err = tag(r.URL.String(), body) // moto leaves out the tags of a new bucket
	}
	if change && f.writes == f.at {
		if err == nil {
			resp.Body.Close()
		}
		return nil, errors.Join(errCut, err)
	}
	return resp, err
}

// tag gives a new bucket the tags that its request has.
func tag(bucket string, body []byte) error {
	_, tags, _ := strings.Cut(string(body), "<Tags>")
	tags, _, ok := strings.Cut(tags, "</Tags>")
	if !ok {
		return fmt.Errorf("the bucket is made without tags: %s", body)
	}
	r, err := http.NewRequest(http.MethodPut, strings.TrimSuffix(bucket, "?x-id=CreateBucket")+"?tagging",
		strings.NewReader("<Tagging><TagSet>"+tags+"</TagSet></Tagging>"))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("tagging the bucket: %s", resp.Status)
	}
	return nil
}

// A run is interrupted at each of its changes, before it is done and after, and
// the next one continues from there. Nothing is made twice.
func TestInterrupted(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	s := s3test.Moto(t)
	target := provision.Target{Bucket: "cut", Settings: provision.Settings{ExpireDays: 7}}
	whole := len(plan(t, provisioner(t, awsAt(t, s), target)).Steps)
	changes := map[string]int{}
	for left := whole; left > 0; {
		for _, sent := range []bool{false, true} {
			cut := &faulty{at: 1, sent: sent}
			cfg := awsAt(t, s, config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
			cfg.HTTPClient = &http.Client{Transport: cut}
			p := provisioner(t, cfg, target)
			pl := plan(t, p)
			if left = len(pl.Steps); left == 0 {
				break
			}
			err := p.Apply(t.Context(), pl, func(provision.Step) {})
			var ae *provision.ApplyError
			if !errors.Is(err, errCut) || !errors.As(err, &ae) || len(ae.Done) != 0 || ae.Failed.String() != pl.Steps[0].String() {
				t.Fatalf("cut at %s, with the plan\n%s\n%v", cut.what, text(pl), err)
			}
			if len(cut.ownerless) > 0 {
				t.Fatalf("these could be about someone else's bucket: %q", cut.ownerless)
			}
			changes[cut.what]++
		}
		if len(changes) > whole {
			t.Fatalf("there is no end: %v", changes)
		}
	}
	// Some are done with what comes before them: a new key has a tag, a new bucket too.
	total := 0
	for what, n := range changes {
		if total += n; n%2 != 0 {
			t.Errorf("%s was interrupted %d times", what, n)
		}
	}
	if total < 2*(whole-2) {
		t.Errorf("of %d changes only these were interrupted, before and after: %v", whole, changes)
	}
	if n := keysOf(t, awsAt(t, s), "vaultpack: data keys and objects of s3://cut"); n != 1 {
		t.Errorf("there are %d keys", n)
	}

	// What passes by itself interrupts nothing: a role that KMS does not know yet,
	// and a bucket whose making was not answered, and is found made by the retry.
	for _, cut := range []*faulty{
		{at: 1, when: "PutKeyPolicy", answer: `{"__type":"MalformedPolicyDocumentException","message":"Policy contains a statement with one or more invalid principals."}`},
		{at: 1, when: "PUT /passing", sent: true},
	} {
		cfg := awsAt(t, s)
		cfg.HTTPClient = &http.Client{Transport: cut}
		p := provisioner(t, cfg, provision.Target{Bucket: "passing-" + map[bool]string{true: "bucket", false: "role"}[cut.sent]})
		if err := p.Apply(t.Context(), plan(t, p), func(provision.Step) {}); err != nil || cut.what == "" {
			t.Errorf("with %+v: %v", cut, err)
		}
	}
}

// keysOf counts the keys with the description.
func keysOf(t *testing.T, cfg aws.Config, description string) (n int) {
	t.Helper()
	c := kms.NewFromConfig(cfg)
	for pages := kms.NewListKeysPaginator(c, &kms.ListKeysInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			d, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: k.KeyId})
			if err != nil {
				t.Fatal(err)
			}
			if aws.ToString(d.KeyMetadata.Description) == description {
				n++
			}
		}
	}
	return n
}

// Without a permission, the action is named and what was made is listed; once it
// is there, the same run continues.
func TestNotAllowed(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	s := s3test.Moto(t)
	root := awsAt(t, s)
	c, name := iam.NewFromConfig(root), aws.String("alice")
	if _, err := c.CreateUser(t.Context(), &iam.CreateUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	key, err := c.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	may := func(actions ...string) {
		t.Helper()
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
		// moto lets requests through until it is told to look at policies.
		enforce(t, s, "inf")
		if _, err := c.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("p"), PolicyDocument: &text}); err != nil {
			t.Fatal(err)
		}
		enforce(t, s, "0")
	}
	alice := awsAt(t, s, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, "")))
	// s3:HeadBucket is moto's name for what is s3:ListBucket at AWS.
	read := []string{"sts:*", "kms:Describe*", "kms:List*", "kms:Get*", "iam:Get*", "s3:Get*", "s3:List*", "s3:HeadBucket"}
	target := provision.Target{Bucket: "alices"}

	denied := func(err error, action string) {
		t.Helper()
		var d *provision.DeniedError
		if !errors.As(err, &d) || !errors.Is(err, fs.ErrPermission) || d.Action != action {
			t.Fatalf("got %v, want that %s is missing", err, action)
		}
	}
	may("sts:*", "kms:Describe*", "kms:List*")
	_, err = provisioner(t, alice, target).Plan(t.Context())
	denied(err, "iam:GetRole")

	may(read...)
	p := provisioner(t, alice, target)
	pl := plan(t, p)
	denied(p.Apply(t.Context(), pl, func(provision.Step) {}), "kms:CreateKey")

	// The permissions come one by one, and each run gets so far.
	have := read
	for _, grant := range []struct {
		action, next string
		done         string
	}{
		{"kms:*", "iam:CreateRole", "create the KMS key"},
		{"iam:*", "s3:CreateBucket", "create the role"},
		{"s3:CreateBucket", "s3:PutBucketTagging", "create the bucket"},
	} {
		have = append(have, grant.action)
		may(have...)
		p := provisioner(t, alice, target)
		if grant.action == "s3:CreateBucket" {
			// moto does not take tags with a new bucket; AWS does.
			target.Adopt = true
		}
		err := p.Apply(t.Context(), plan(t, p), func(provision.Step) {})
		denied(err, grant.next)
		var ae *provision.ApplyError
		errors.As(err, &ae)
		if n := len(ae.Done); n == 0 || !strings.Contains(text(&provision.Plan{Steps: ae.Done}), grant.done) {
			t.Errorf("with %s it has done:\n%s", grant.action, text(&provision.Plan{Steps: ae.Done}))
		}
	}
	may(append(have, "s3:*")...)
	o := apply(t, alice, target)
	enforce(t, s, "inf")
	if w := worldOf(t, root, o); w.Resources[o.KMSKeyARN] == nil {
		t.Error("there is no policy of the key")
	}
}

// enforce has moto look at policies after so many requests.
func enforce(t *testing.T, s *s3test.Server, after string) {
	t.Helper()
	if after == "inf" {
		after = "1000000000"
	}
	resp, err := http.Post(s.URL+"/moto-api/reset-auth", "text/plain", strings.NewReader(after))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("reset-auth: %s", resp.Status)
	}
}

// What is there already is taken over only where it is tagged, or when it is said
// so; and what others have set up in a bucket stays.
func TestAdopt(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	s := s3test.Moto(t)
	cfg := awsAt(t, s)
	ctx, c := t.Context(), s3.NewFromConfig(cfg, pathStyle)
	letLog(t, c, "theirs") // a bucket with a policy
	bucket := aws.String("theirs")
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: bucket, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("team"), Value: aws.String("x")}}}}))
	check(c.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{
		Rules: []types.LifecycleRule{{ID: aws.String("theirs"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: aws.String("tmp/")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}}}}}))
	target := provision.Target{Bucket: "theirs", Prefix: "ml/"}
	refused := func(target provision.Target, want string) {
		t.Helper()
		_, err := provisioner(t, cfg, target).Plan(ctx)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		// Only these are for --adopt.
		if adoptable := strings.Contains(want, "tagged") || strings.Contains(want, "belongs"); errors.Is(err, provision.ErrNotOurs) != adoptable {
			t.Errorf("%v: that it is ErrNotOurs should be %v", err, adoptable)
		}
	}
	refused(target, "the bucket theirs is there already and not tagged as this vault's")
	target.Adopt = true
	pl := plan(t, provisioner(t, cfg, target))
	for _, want := range []string{"note: the bucket theirs: a statement without Sid (Allow s3:PutObject to logging.s3.amazonaws.com) of its policy"} {
		if !strings.Contains(text(pl), want) {
			t.Errorf("no %q in:\n%s", want, text(pl))
		}
	}
	apply(t, cfg, target)
	tags, err := c.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: bucket})
	check(tags, err)
	if len(tags.TagSet) != 2 {
		t.Errorf("the bucket has the tags %+v", tags.TagSet)
	}
	rules, err := c.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	check(rules, err)
	if len(rules.Rules) != 2 || *rules.Rules[0].ID != "theirs" {
		t.Errorf("the bucket has the rules %+v", rules.Rules)
	}
	p, err := c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	check(p, err)
	if !strings.Contains(*p.Policy, "logging.s3.amazonaws.com") || !strings.Contains(*p.Policy, "VaultpackTLSOnly") {
		t.Errorf("the bucket's policy is %s", *p.Policy)
	}

	// Another vault in the bucket, a key and a role of others.
	refused(provision.Target{Bucket: "theirs", Prefix: "other/", Settings: provision.Settings{Name: "other"}}, "belongs to s3://theirs/ml")
	refused(provision.Target{Bucket: "theirs", Prefix: "other/"}, "belongs to s3://theirs/ml")
	key, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{KeySpec: "SYMMETRIC_DEFAULT", KeyUsage: "ENCRYPT_DECRYPT"})
	check(key, err)
	theirs := provision.Target{Bucket: "mine", Key: *key.KeyMetadata.Arn}
	refused(theirs, "is there already and not tagged")
	theirs.Adopt = true
	if o := apply(t, cfg, theirs); o.KMSKeyARN != *key.KeyMetadata.Arn {
		t.Errorf("the key is %s", o.KMSKeyARN)
	}
	_, err = iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("third-uploader"), Path: aws.String("/team/"), AssumeRolePolicyDocument: aws.String(`{}`)})
	check(nil, err)
	third := provision.Target{Bucket: "third", Settings: provision.Settings{Name: "third"}}
	refused(third, "the role third-uploader is there already and not tagged")
	third.Adopt = true
	if o := apply(t, cfg, third); !strings.HasSuffix(o.UploaderRole, ":role/team/third-uploader") {
		t.Errorf("the role is %s", o.UploaderRole)
	}
	refused(provision.Target{Bucket: "fourth", Settings: provision.Settings{Admins: []string{"arn:aws:iam::123456789012:role/boss"}}}, "KMS refuses a policy that its writer could not change")
	refused(provision.Target{Bucket: "fourth", Key: "alias/none"}, "there is no KMS key alias/none")
}

// MinIO gets what it has: a bucket with versions, that encrypts.
func TestMinIO(t *testing.T) {
	s := s3test.MinIO(t, false)
	cfg := awsAt(t, s, config.WithRegion(s.Region))
	for name, target := range map[string]provision.Target{
		"with a key": {Bucket: "sealed", Prefix: "ml/", Key: s.KMSKey, BucketOnly: true, Settings: provision.Settings{ExpireDays: 9}},
		"without":    {Bucket: "plain", BucketOnly: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, cfg, target)
			pl := plan(t, p)
			t.Log("\n" + text(pl))
			if err := p.Apply(t.Context(), pl, func(provision.Step) {}); err != nil {
				t.Fatal(err)
			}
			again := plan(t, provisioner(t, cfg, target))
			t.Log("\n" + text(again))
			if len(again.Steps) > 0 {
				t.Errorf("the second run wants to:\n%s", text(again))
			}
			v, err := s.Client(t).GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: &target.Bucket})
			if err != nil || v.Status != types.BucketVersioningStatusEnabled {
				t.Errorf("versioning is %v, %v", v, err)
			}
			if target.Key != "" {
				put, err := s.Client(t).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &target.Bucket, Key: aws.String("x"), Body: strings.NewReader("x")})
				if err != nil || put.ServerSideEncryption != types.ServerSideEncryptionAwsKms {
					t.Errorf("an object that relies on the default is stored with %v, %v", put, err)
				}
			}
		})
	}
}
