package provision_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/provision"
)

// in is a provisioner of the target in the fake AWS, whose waits take no time.
func in(t testing.TB, s *awstest.Server, target provision.Target) *provision.Provisioner {
	t.Helper()
	p, err := provision.New(s.Config(), target, pathStyle)
	if err != nil {
		t.Fatal(err)
	}
	p.WithoutTime(nil)
	return p
}

// run is vaultpack init: a plan, and its steps.
func run(t testing.TB, p *provision.Provisioner) (*provision.Plan, error) {
	t.Helper()
	pl, err := p.Plan(t.Context())
	if err != nil {
		return nil, err
	}
	return pl, p.Apply(t.Context(), pl, func(provision.Step) {})
}

func mustRun(t testing.TB, p *provision.Provisioner) *provision.Plan {
	t.Helper()
	pl, err := run(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

// inOrder wants a further plan to have nothing to do.
func inOrder(t testing.TB, s *awstest.Server, target provision.Target) *provision.Plan {
	t.Helper()
	target.Adopt = false
	again := plan(t, in(t, s, target))
	if len(again.Steps) > 0 {
		t.Fatalf("the second run wants to:\n%s", text(again))
	}
	return again
}

func countKeys(t testing.TB, s *awstest.Server) int {
	t.Helper()
	out, err := kms.NewFromConfig(s.Config()).ListKeys(t.Context(), &kms.ListKeysInput{})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Keys)
}

var regions = []string{"eu-central-1", "us-east-1", "cn-north-1", "us-gov-west-1"}

// states are those that a bucket may be in before.
var states = map[string]func(s *awstest.Server, target *provision.Target){
	"none":   func(*awstest.Server, *provision.Target) {},
	"dotted": func(_ *awstest.Server, target *provision.Target) { target.Bucket = "data.of.the.team" },
	"owned": func(s *awstest.Server, target *provision.Target) {
		s.AddBucket(target.Bucket, awstest.Bucket{})
		target.Adopt = true
	},
	"tagged": func(s *awstest.Server, target *provision.Target) {
		s.AddBucket(target.Bucket, awstest.Bucket{Settings: map[string]string{"tagging": "<Tagging><TagSet><Tag><Key>vaultpack:vault</Key><Value>" + target.URL() + "</Value></Tag></TagSet></Tagging>"}})
	},
	"versioned": func(s *awstest.Server, target *provision.Target) {
		s.AddBucket(target.Bucket, awstest.Bucket{Settings: map[string]string{"versioning": "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"}})
		target.Adopt = true
	},
	"locked": func(s *awstest.Server, target *provision.Target) {
		s.AddBucket(target.Bucket, awstest.Bucket{Locked: true})
		target.Adopt = true
	},
}

// passing are the answers of AWS that time fixes, by the call.
func passing(c awstest.Call, n int) awstest.Fate {
	change := !slices.ContainsFunc([]string{"Get", "Describe", "List", "Head"}, func(verb string) bool { return strings.HasPrefix(c.Op, verb) })
	slow := []awstest.Fate{{Status: 503, Code: "SlowDown"}}
	switch {
	case c.Service == "s3" && c.Op == "CreateBucket":
		slow = append(slow, awstest.Fate{Status: 409, Code: "OperationAborted"})
	case c.Service == "s3" && change:
		slow = append(slow, awstest.Fate{Status: 409, Code: "OperationAborted"}, awstest.Fate{Status: 404, Code: "NoSuchBucket"})
	case c.Service == "kms":
		slow = []awstest.Fate{{Code: "ThrottlingException"}}
		if change {
			slow = append(slow, awstest.Fate{Code: "NotFoundException"}, awstest.Fate{Code: "MalformedPolicyDocumentException", Message: "Policy contains a statement with one or more invalid principals."})
		}
	case c.Service == "iam":
		slow = []awstest.Fate{{Code: "Throttling"}}
		if change {
			slow = append(slow, awstest.Fate{Status: 409, Code: "ConcurrentModification"})
			if c.Op != "CreateRole" {
				slow = append(slow, awstest.Fate{Status: 404, Code: "NoSuchEntity"})
			} else {
				slow = append(slow, awstest.Fate{Code: "MalformedPolicyDocument", Message: "Invalid principal in policy: AWS:x"})
			}
		}
	}
	return slow[n%len(slow)]
}

// In each partition and Region, from each state of the bucket, an init makes the
// vault, also where all that is new is unknown for a while, and where each single
// call is refused for now: then without another run. Where the connection breaks at
// any call, before it is done or after, the same command again finishes. Nothing is
// made twice, and nothing is left to do.
func TestWorld(t *testing.T) {
	world := 0
	for _, region := range race.Few(2, regions) {
		for _, state := range slices.Sorted(maps.Keys(states)) {
			prepare := states[state]
			// One world meets a fault at every call; of each other, every 19th, another
			// in each.
			first, stride := 1+world%19, 19
			if region == "eu-central-1" && state == "none" && !testing.Short() && !race.Enabled {
				first, stride = 1, 1
			}
			world++
			t.Run(region+" "+state, func(t *testing.T) {
				t.Parallel()
				fresh := func() (*awstest.Server, provision.Target) {
					s := awstest.New(region)
					target := provision.Target{Bucket: "data", Prefix: "ml/", Settings: provision.Settings{Trainers: []string{"scans"}, ExpireDays: 30}}
					prepare(s, &target)
					return s, target
				}
				finished := func(s *awstest.Server, target provision.Target, what string) {
					t.Helper()
					s.Meet = nil
					inOrder(t, s, target)
					if n := countKeys(t, s); n != 2 { // for data, and for signatures
						t.Errorf("%s: there are %d keys", what, n)
					}
				}
				s, target := fresh()
				s.Slow = true
				mustRun(t, in(t, s, target))
				finished(s, target, "slow")
				calls := len(s.Calls())
				for at := first; at <= calls; at += stride {
					s, target := fresh()
					var met atomic.Pointer[awstest.Call]
					s.Meet = func(c awstest.Call) awstest.Fate {
						if c.Number != at {
							return awstest.Fate{}
						}
						met.Store(&c)
						return passing(c, at)
					}
					if _, err := run(t, in(t, s, target)); err != nil {
						t.Fatalf("refused for now at %+v: %v", met.Load(), err)
					}
					finished(s, target, fmt.Sprintf("refused at %+v", met.Load()))
				}
				for at := first; at <= calls; at += stride {
					s, target := fresh()
					var met atomic.Pointer[awstest.Call]
					s.Meet = func(c awstest.Call) awstest.Fate {
						if c.Number < at || c.Number >= at+4 { // longer than a client's own attempts
							return awstest.Fate{}
						}
						met.Store(&c)
						return awstest.Fate{Cut: at%2 == 0, Lost: at%2 == 1}
					}
					for try := 1; ; try++ {
						_, err := run(t, in(t, s, target))
						if err == nil {
							break
						}
						if !errors.Is(err, awstest.ErrCut) || try == 4 {
							t.Fatalf("cut at %+v, try %d: %v", met.Load(), try, err)
						}
					}
					finished(s, target, fmt.Sprintf("cut at %+v", met.Load()))
				}
			})
		}
	}
}

// What belongs to others is refused, and the Region of a bucket is named.
func TestWorldOfOthers(t *testing.T) {
	for want, b := range map[string]awstest.Bucket{
		"belongs to another account":                      {Owner: "444455556666"},
		"is in the Region ap-south-1, and not in":         {Region: "ap-south-1"},
		"is there already and not tagged as this vault's": {},
	} {
		s := awstest.New("eu-central-1")
		s.AddBucket("data", b)
		if _, err := run(t, in(t, s, provision.Target{Bucket: "data"})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if n := countKeys(t, s); n != 0 {
			t.Errorf("%s: %d keys were made", want, n)
		}
	}
	// A HEAD that is signed for another Region may be a 400 too.
	s := awstest.New("eu-central-1")
	if _, err := run(t, in(t, s, provision.Target{Bucket: "Not_A_Name"})); err == nil || !strings.Contains(err.Error(), "cannot name a bucket") {
		t.Errorf("a bucket that cannot be: %v", err)
	}
}

// Trainers of any number are let in by one key: by name, and where its policy has no
// room for the names, by tag and pattern. What does not fit is refused before
// anything is made.
func TestLimits(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	many := func(n int, format string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return all
	}
	for n, byTag := range map[int]bool{1: false, 60: false, 1000: true} {
		s := awstest.New("eu-central-1")
		target := provision.Target{Bucket: "data", Prefix: "ml/", Settings: provision.Settings{Trainers: many(n, "dataset-number-%d")}}
		p := in(t, s, target)
		mustRun(t, p)
		inOrder(t, s, target)
		key := p.Outputs().KMSKeyARN
		out, err := kms.NewFromConfig(s.Config()).GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: &key, PolicyName: aws.String("default")})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(*out.Policy, "aws:PrincipalTag/vaultpack:vault"); got != byTag {
			t.Errorf("%d trainers are let in by tag: %v\n%.2000s", n, got, *out.Policy)
		}
		if r, ok := s.Role(fmt.Sprintf("vaultpack-data-trainer-dataset-number-%d", n-1)); !ok || r.Tags["vaultpack:vault"] != "s3://data/ml" || !strings.Contains(r.Policies["vaultpack"], fmt.Sprintf(`"dataset-number-%d"`, n-1)) {
			t.Errorf("the last trainer of %d is %+v", n, r)
		}
	}
	for what, settings := range map[string]provision.Settings{
		"the trust policy of the role":   {Assume: many(40, "arn:aws:iam::111122223333:role/some-team-etl-%d")},
		"the policy of the role":         {Outputs: many(130, "s3://models-of-the-team-%d/runs/with/a/prefix")},
		"the policy of the key":          {Users: many(600, "arn:aws:iam::111122223333:role/some-team-user-%d")},
		"the account would have 5003 ro": {Trainers: many(5001, "d%d")},
	} {
		s := awstest.New("eu-central-1")
		_, err := run(t, in(t, s, provision.Target{Bucket: "data", Settings: settings}))
		var limit *provision.LimitError
		if !errors.As(err, &limit) || !strings.Contains(err.Error(), what) || limit.Instead == "" {
			t.Errorf("%s: %v", what, err)
		}
		for _, c := range s.Calls() {
			if strings.HasPrefix(c.Op, "Create") {
				t.Errorf("%s: %s was called", what, c.Op)
			}
		}
	}
	// Names of any characters become what AWS takes.
	tags := map[string]bool{}
	for _, prefix := range []string{"データ/", "team's data/", "team_s data/", strings.Repeat("x", 300) + "/", strings.Repeat("x", 301) + "/", "\U0001f4e6/", " x /"} {
		s := awstest.New("us-east-1")
		target := provision.Target{Bucket: "data", Prefix: prefix}
		mustRun(t, in(t, s, target))
		inOrder(t, s, target)
		tags[provision.TagValue(target.URL())] = true
	}
	if len(tags) != 7 {
		t.Errorf("several vaults have one tag: %v", tags)
	}
	// A bucket without room for what belongs to it.
	full := awstest.New("us-east-1")
	full.AddBucket("data", awstest.Bucket{Settings: map[string]string{"tagging": "<Tagging><TagSet>" + strings.Join(many(50, "<Tag><Key>k%d</Key><Value>v</Value></Tag>"), "") + "</TagSet></Tagging>"}})
	full.AddBucket("long", awstest.Bucket{Settings: map[string]string{"policy": `{"Version":"2012-10-17","Statement":[{"Sid":"Theirs","Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket","Resource":["` + strings.Join(many(500, "arn:aws:s3:::a-bucket-of-that-name-%d"), `","`) + `"]}]}`}})
	for bucket, want := range map[string]string{"data": "50", "long": "20480"} {
		if _, err := run(t, in(t, full, provision.Target{Bucket: bucket, Adopt: true})); err == nil || !strings.Contains(err.Error(), "AWS takes "+want) {
			t.Errorf("%s: %v", bucket, err)
		}
	}
	if n := countKeys(t, full); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

// What others have set up stays to the letter, whatever its names begin with, and a
// rule that would hurt the vault is told, with each plan; one that cannot is not.
func TestTakesNothing(t *testing.T) {
	rule := func(id, prefix, what string) string {
		return "<Rule><ID>" + id + "</ID><Filter><Prefix>" + prefix + "</Prefix></Filter><Status>Enabled</Status>" + what + "</Rule>"
	}
	const expire, archive = "<Expiration><Days>400</Days></Expiration>", "<Transition><Days>30</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>"
	const theirs = `{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::data/*","Condition":{"NumericLessThan":{"s3:max-keys":10000000}}}`
	s := awstest.New("eu-central-1")
	s.AddBucket("data", awstest.Bucket{Settings: map[string]string{
		"lifecycle": "<LifecycleConfiguration>" + rule("vaultpack-ml-logs", "logs/", expire) + rule("archive-all", "", archive) + rule("other", "ml2/", archive) +
			rule("below", "ml/scans/", expire) + rule("vaultpack-abort-uploads", "", "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>") + "</LifecycleConfiguration>",
		"policy": `{"Version":"2008-10-17","Id":"theirs","Statement":[` + theirs + `,{"Sid":"VaultpackersKeepVersions","Effect":"Deny","Principal":"*","Action":"s3:DeleteObjectVersion","Resource":"arn:aws:s3:::data/*"}]}`,
	}})
	target := provision.Target{Bucket: "data", Prefix: "ml/", Adopt: true}
	warned := func(pl *provision.Plan) {
		t.Helper()
		all := strings.Join(pl.Warnings, "\n")
		if len(pl.Warnings) != 2 || !strings.Contains(all, `"archive-all"`) || !strings.Contains(all, `"below"`) {
			t.Errorf("the warnings are:\n%s", all)
		}
	}
	pl := mustRun(t, in(t, s, target))
	warned(pl)
	warned(inOrder(t, s, target))
	for _, st := range pl.Steps {
		if st.Property == "policy" && strings.Contains(st.Resource, "bucket") && (!strings.HasPrefix(st.To, "add VaultpackCustomerKey, ") || strings.Contains(st.To, "remove") || strings.Contains(st.To, "change")) {
			t.Errorf("the policy's difference is %q", st.To)
		}
	}
	lifecycle := s.Setting("data", "lifecycle")
	for _, id := range []string{"vaultpack-ml-logs", "archive-all", "other", "below", "vaultpack-abort-uploads"} {
		if n := strings.Count(lifecycle, "<ID>"+id+"<"); n != 1 {
			t.Errorf("there are %d rules %s:\n%s", n, id, lifecycle)
		}
	}
	policy := s.Setting("data", "policy")
	for _, want := range []string{theirs, `"VaultpackersKeepVersions"`, `"Id":"theirs"`, `"Version":"2008-10-17"`, `"VaultpackTLSOnly"`} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %s in the policy:\n%s", want, policy)
		}
	}

	// An alias of another vault's key is not moved.
	first := in(t, s, provision.Target{Bucket: "first"})
	mustRun(t, first)
	own, err := kms.NewFromConfig(s.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("vaultpack:vault"), TagValue: aws.String("s3://fourth")}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = run(t, in(t, s, provision.Target{Bucket: "fourth", Key: *own.KeyMetadata.Arn, Settings: provision.Settings{Name: "vaultpack-first"}}))
	if !errors.Is(err, provision.ErrNotOurs) || !strings.Contains(err.Error(), "alias/vaultpack-first") {
		t.Errorf("an alias of another vault: %v", err)
	}

	// Of a key that is adopted, the policy is vaultpack's, and what it takes away is
	// said; its Id stays.
	made, err := kms.NewFromConfig(s.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	pl = mustRun(t, in(t, s, provision.Target{Bucket: "second", Key: *made.KeyMetadata.Arn, Adopt: true}))
	if !strings.Contains(text(pl), "remove Enable IAM User Permissions") {
		t.Errorf("the plan is:\n%s", text(pl))
	}
	out, err := kms.NewFromConfig(s.Config()).GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: made.KeyMetadata.KeyId, PolicyName: aws.String("default")})
	if err != nil || !strings.Contains(*out.Policy, `"Id":"key-default-1"`) {
		t.Errorf("the key's policy is %s, %v", *out.Policy, err)
	}
}

// A principal that does not exist is named, and soon; what goes on to be refused is
// given up after a while, with a word for each wait.
func TestWaits(t *testing.T) {
	s := awstest.New("eu-central-1")
	nobody, stranger := s.IAM("role/team/nobody"), "arn:aws:iam::444455556666:role/etl"
	p := in(t, s, provision.Target{Bucket: "data", Settings: provision.Settings{Users: []string{nobody, stranger}}})
	var waited atomic.Int64
	after := func() time.Duration { return time.Duration(waited.Load()) }
	p.WithoutTime(&waited)
	if _, err := run(t, p); err == nil || !strings.Contains(err.Error(), "there is no "+nobody) || strings.Contains(err.Error(), stranger) || after() > 10*time.Second {
		t.Errorf("after %v: %v", after(), err)
	}
	// The same command again, once there is one, continues.
	s.AddUser("late")
	late := provision.Target{Bucket: "data", Settings: provision.Settings{Users: []string{s.IAM("user/late")}}}
	mustRun(t, in(t, s, late))
	inOrder(t, s, late)

	busy := awstest.New("eu-central-1")
	busy.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "PutBucketVersioning" {
			return awstest.Fate{Status: 409, Code: "OperationAborted"}
		}
		return awstest.Fate{}
	}
	p = in(t, busy, provision.Target{Bucket: "data"})
	waited.Store(0)
	p.WithoutTime(&waited)
	var words []string
	p.OnWait = func(w provision.Wait) { words = append(words, w.What) }
	if _, err := run(t, p); err == nil || !strings.Contains(err.Error(), "OperationAborted") || after() < time.Minute || after() > 5*time.Minute ||
		len(words) < 5 || words[0] != "the bucket data: versioning" {
		t.Errorf("after %v and %q: %v", after(), words, err)
	}

	// Throttling is no reason to stop, however long the plan takes for it.
	throttled := awstest.New("eu-central-1")
	var asked atomic.Int64
	throttled.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "GetRole" && asked.Add(1) <= 8 {
			return awstest.Fate{Code: "Throttling", Message: "Rate exceeded"}
		}
		return awstest.Fate{}
	}
	if _, err := run(t, in(t, throttled, provision.Target{Bucket: "data"})); err != nil {
		t.Errorf("throttled: %v", err)
	}
	// Credentials that end are no failure of what was asked for.
	ended := awstest.New("eu-central-1")
	ended.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "PutRolePolicy" {
			return awstest.Fate{Status: 403, Code: "ExpiredToken", Message: "The security token included in the request is expired"}
		}
		return awstest.Fate{}
	}
	var unknown *provision.CredentialsError
	if _, err := run(t, in(t, ended, provision.Target{Bucket: "data"})); !errors.As(err, &unknown) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("with credentials that have ended: %v", err)
	}
}

// What a new bucket has already is not set again: who may not set it needs not.
func TestGiven(t *testing.T) {
	s := awstest.New("eu-central-1")
	s.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "PutPublicAccessBlock" {
			return awstest.Fate{Status: 403, Code: "AccessDenied", Message: "with an explicit deny in a service control policy"}
		}
		return awstest.Fate{}
	}
	mustRun(t, in(t, s, provision.Target{Bucket: "data"}))
	inOrder(t, s, provision.Target{Bucket: "data"})
}

// Many keys are looked at at once, and told.
func TestManyKeys(t *testing.T) {
	s := awstest.New("eu-central-1")
	c := kms.NewFromConfig(s.Config())
	for range 150 {
		if _, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{}); err != nil {
			t.Fatal(err)
		}
	}
	under, most := make(chan struct{}, 200), 0
	var mu sync.Mutex
	s.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "DescribeKey" {
			under <- struct{}{}
			mu.Lock()
			most = max(most, len(under))
			mu.Unlock()
			time.Sleep(time.Millisecond)
			<-under
		}
		return awstest.Fate{}
	}
	p := in(t, s, provision.Target{Bucket: "data"})
	var told []int
	p.OnProgress = func(_ string, done, total int) { told = append(told, done*1000+total) }
	mustRun(t, p)
	if len(told) == 0 || told[len(told)-1] != 150150 || !slices.IsSorted(told) {
		t.Errorf("the progress was %v", told)
	}
	if most < 3 || most > 20 {
		t.Errorf("%d calls were under way at once", most)
	}
}
