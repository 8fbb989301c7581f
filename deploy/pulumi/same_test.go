package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/vaultpack/vaultpack/provision"
)

// A recorder is an AWS in which there is nothing yet. It notes what vaultpack init
// makes there, as facts. It answers one request at a time: init sends several at once.
type recorder struct {
	mu    sync.Mutex
	facts map[string]string
}

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status, text := r.answer(req, body)
	return &http.Response{StatusCode: status, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text))}, nil
}

func (r *recorder) answer(req *http.Request, body []byte) (int, string) {
	if _, action, ok := strings.Cut(req.Header.Get("X-Amz-Target"), "TrentService."); ok {
		return r.kms(action, body)
	}
	form, _ := url.ParseQuery(string(body))
	switch action := form.Get("Action"); action {
	case "":
		return r.s3(req, body)
	case "GetCallerIdentity":
		return 200, "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>" + admin + "</Arn><Account>" + account + "</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
	case "GetRole":
		return 404, "<ErrorResponse><Error><Code>NoSuchEntity</Code></Error></ErrorResponse>"
	case "CreateRole":
		name := form.Get("RoleName")
		r.facts["role "+name] = form.Get("Description")
		r.facts["trust of "+name] = canonical(form.Get("AssumeRolePolicyDocument"))
		r.facts["tags of role "+name] = form.Get("Tags.member.1.Key") + "=" + form.Get("Tags.member.1.Value")
		return 200, "<CreateRoleResponse><CreateRoleResult><Role><Arn>" + roleARN(name) + "</Arn></Role></CreateRoleResult></CreateRoleResponse>"
	case "PutRolePolicy":
		r.facts["policy "+form.Get("PolicyName")+" of "+form.Get("RoleName")] = canonical(form.Get("PolicyDocument"))
		return 200, "<PutRolePolicyResponse/>"
	default:
		return 400, "<ErrorResponse><Error><Code>NoSuchAction</Code></Error></ErrorResponse>"
	}
}

func (r *recorder) kms(action string, body []byte) (int, string) {
	var in struct {
		Description, Policy, AliasName, TargetKeyId string
		KeyId, KeySpec, KeyUsage                    string
		Tags                                        []struct{ TagKey, TagValue string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return 400, `{"__type":"ValidationException"}`
	}
	// which is the key that this is about.
	which := "key"
	if in.KeyUsage == "SIGN_VERIFY" || in.KeyId == signingARN || in.TargetKeyId == signingARN {
		which = "signing key"
	}
	switch action {
	case "DescribeKey":
		return 400, `{"__type":"NotFoundException"}`
	case "ListKeys":
		return 200, `{"Keys":[],"Truncated":false}`
	case "CreateKey":
		r.facts[which] = in.Description + ", " + in.KeySpec
		for _, t := range in.Tags {
			r.facts["tags of "+which] = t.TagKey + "=" + t.TagValue
		}
		id, arn := keyUUID, keyARN
		if which == "signing key" {
			id, arn = signingUUID, signingARN
		}
		return 200, `{"KeyMetadata":{"KeyId":"` + id + `","Arn":"` + arn + `"}}`
	case "PutKeyPolicy":
		r.facts["policy of "+which] = canonical(in.Policy)
	case "EnableKeyRotation":
		r.facts["rotation of "+which] = "true"
	case "CreateAlias":
		r.facts["alias of "+which] = in.AliasName
	default:
		return 400, `{"__type":"UnknownOperationException"}`
	}
	return 200, "{}"
}

func (r *recorder) s3(req *http.Request, body []byte) (int, string) {
	if req.Method == http.MethodHead {
		return 404, ""
	}
	query := req.URL.Query()
	if req.Method != http.MethodPut {
		return 400, "<Error><Code>NotImplemented</Code></Error>"
	}
	if query.Has("policy") {
		r.facts["policy of bucket"] = canonical(string(body))
		return 204, ""
	}
	var in struct {
		Tags                                                                        []struct{ Key, Value string } `xml:"TagSet>Tag"`
		Status                                                                      string
		BlockPublicAcls, IgnorePublicAcls, BlockPublicPolicy, RestrictPublicBuckets bool
		Rules                                                                       []struct {
			rule
			ObjectOwnership  string
			SSEAlgorithm     string `xml:"ApplyServerSideEncryptionByDefault>SSEAlgorithm"`
			KMSMasterKeyID   string `xml:"ApplyServerSideEncryptionByDefault>KMSMasterKeyID"`
			BucketKeyEnabled bool
		} `xml:"Rule"`
		LoggingEnabled struct{ TargetBucket, TargetPrefix string }
	}
	if len(body) > 0 {
		if err := xml.Unmarshal(body, &in); err != nil {
			return 400, "<Error><Code>MalformedXML</Code></Error>"
		}
	}
	switch {
	case query.Has("tagging"):
		for _, t := range in.Tags {
			r.facts["tags of bucket"] = t.Key + "=" + t.Value
		}
	case query.Has("publicAccessBlock"):
		r.facts["public access blocked"] = fmt.Sprint(in.BlockPublicAcls, in.IgnorePublicAcls, in.BlockPublicPolicy, in.RestrictPublicBuckets)
	case query.Has("ownershipControls"):
		r.facts["ownership"] = in.Rules[0].ObjectOwnership
	case query.Has("encryption"):
		r.facts["encryption"] = fmt.Sprint(in.Rules[0].SSEAlgorithm, " ", in.Rules[0].KMSMasterKeyID, " ", in.Rules[0].BucketKeyEnabled)
	case query.Has("versioning"):
		r.facts["versioning"] = in.Status
	case query.Has("lifecycle"):
		var rules []rule
		for _, r := range in.Rules {
			rules = append(rules, r.rule)
		}
		r.facts["lifecycle"] = fmt.Sprint(rules)
	case query.Has("logging"):
		r.facts["logs"] = in.LoggingEnabled.TargetBucket + " " + in.LoggingEnabled.TargetPrefix
	default:
		// A name with dots is in the path.
		name, _, _ := strings.Cut(req.URL.Host, ".s3.")
		if path := strings.Trim(req.URL.Path, "/"); path != "" {
			name = path
		}
		r.facts["bucket"] = name
	}
	return 200, ""
}

// A rule is one of a bucket's lifecycle.
type rule struct {
	ID, Status string
	Prefix     string `xml:"Filter>Prefix"`
	Abort      int    `xml:"AbortIncompleteMultipartUpload>DaysAfterInitiation"`
	Expire     int    `xml:"NoncurrentVersionExpiration>NoncurrentDays"`
	Markers    bool   `xml:"Expiration>ExpiredObjectDeleteMarker"`
}

// canonical is a policy whose keys are in order.
func canonical(policy string) string {
	var v any
	if err := json.Unmarshal([]byte(policy), &v); err != nil {
		return policy
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.Encode(v)
	return b.String()
}

// facts are those of a stack.
func (s *stack) facts(t *testing.T) map[string]string {
	facts := map[string]string{}
	tags := func(name string) string {
		var all []string
		for k, v := range s.input(t, name, "tags").(map[string]any) {
			all = append(all, k+"="+v.(string))
		}
		return strings.Join(all, " ")
	}
	for name, r := range s.resources {
		text := func(key string) string { return s.text(t, name, key) }
		in := func(path ...any) any { return s.input(t, name, path...) }
		switch short(r.token) {
		case "iam/role":
			facts["role "+text("name")] = text("description")
			facts["trust of "+text("name")] = canonical(text("assumeRolePolicy"))
			facts["tags of role "+text("name")] = tags(name)
		case "iam/rolePolicy":
			facts["policy "+text("name")+" of "+text("role")] = canonical(text("policy"))
		case "kms/key":
			which := strings.ReplaceAll(name, "-", " ")
			spec := "SYMMETRIC_DEFAULT"
			if s, set := in("customerMasterKeySpec").(string); set {
				spec = s
			}
			facts[which], facts["tags of "+which], facts["policy of "+which] = text("description")+", "+spec, tags(name), canonical(text("policy"))
			if rotates := in("enableKeyRotation"); rotates != nil {
				facts["rotation of "+which] = fmt.Sprint(rotates)
			}
		case "kms/alias":
			facts["alias of "+strings.ReplaceAll(strings.TrimSuffix(name, "-alias"), "-", " ")] = text("name")
		case "s3/bucket":
			facts["bucket"], facts["tags of bucket"] = text("bucket"), tags(name)
		case "s3/bucketPolicy":
			facts["policy of bucket"] = canonical(text("policy"))
		case "s3/bucketPublicAccessBlock":
			facts["public access blocked"] = fmt.Sprint(in("blockPublicAcls"), in("ignorePublicAcls"), in("blockPublicPolicy"), in("restrictPublicBuckets"))
		case "s3/bucketOwnershipControls":
			facts["ownership"] = in("rule", "objectOwnership").(string)
		case "s3/bucketServerSideEncryptionConfiguration":
			const by = "applyServerSideEncryptionByDefault"
			facts["encryption"] = fmt.Sprint(in("rules", 0, by, "sseAlgorithm"), " ", in("rules", 0, by, "kmsMasterKeyId"), " ", in("rules", 0, "bucketKeyEnabled"))
		case "s3/bucketVersioning":
			facts["versioning"] = in("versioningConfiguration", "status").(string)
		case "s3/bucketLifecycleConfiguration":
			var rules []rule
			for n := range in("rules").([]any) {
				r := rule{ID: in("rules", n, "id").(string), Status: in("rules", n, "status").(string), Prefix: in("rules", n, "filter", "prefix").(string)}
				if v, ok := in("rules", n, "abortIncompleteMultipartUpload", "daysAfterInitiation").(float64); ok {
					r.Abort = int(v)
				}
				if v, ok := in("rules", n, "noncurrentVersionExpiration", "noncurrentDays").(float64); ok {
					r.Expire = int(v)
				}
				r.Markers, _ = in("rules", n, "expiration", "expiredObjectDeleteMarker").(bool)
				rules = append(rules, r)
			}
			facts["lifecycle"] = fmt.Sprint(rules)
		case "s3/bucketLogging":
			facts["logs"] = text("targetBucket") + " " + text("targetPrefix")
		case "pulumi/pulumi", "pulumi":
		default:
			t.Errorf("vaultpack init makes no %s", r.token)
		}
	}
	return facts
}

// The program makes what vaultpack init makes, to the letter: so each finds nothing
// to change in what the other has made.
func TestSameAsInit(t *testing.T) {
	// More than the key's policy has room for by name.
	var trainers []string
	for n := range 150 {
		trainers = append(trainers, fmt.Sprintf("dataset-number-%d", n))
	}
	list, err := json.Marshal(trainers)
	if err != nil {
		t.Fatal(err)
	}
	type sameTest struct {
		config   map[string]string
		settings provision.Settings
		prefix   string
		region   string
	}
	tests := map[string]sameTest{
		"many trainers":     {map[string]string{"bucket": "data", "trainers": string(list)}, provision.Settings{Trainers: trainers}, "", ""},
		"signs of a prefix": {map[string]string{"bucket": "data", "prefix": "the team's データ"}, provision.Settings{}, "the team's データ/", ""},
	}
	for _, r := range []string{"us-east-1", "cn-north-1", "us-gov-west-1"} {
		tests[r] = sameTest{map[string]string{"bucket": "data.of.ml", "trainers": `["scans"]`}, provision.Settings{Trainers: []string{"scans"}}, "", r}
	}
	for name, test := range map[string]sameTest{
		"least": {map[string]string{"bucket": "data"}, provision.Settings{}, "", ""},
		"all": {map[string]string{"bucket": "data", "prefix": "/ml/x", "name": "lab", "users": `["` + roleARN("lab") + `"]`, "assume": `["` + roleARN("z") + `","` + roleARN("ci") + `"]`,
			"resume_uploads": "true", "signing_key": "arn:aws:kms:eu-central-1:111122223333:key/ffffffff-12ab-34cd-56ef-1234567890ab", "trainers": `["scans","` + strings.Repeat("long", 15) + `"]`, "outputs": `["s3://models/runs"]`,
			"images": `["arn:aws:ecr:eu-central-1:111122223333:repository/train"]`, "no_volumes": "true",
			"vpc": `{"subnets":["subnet-1"],"security_groups":["sg-1"]}`, "access_logs": "s3://logs/data", "expire_old_versions_days": "30", "abort_uploads_days": "3"},
			provision.Settings{Name: "lab", Users: []string{roleARN("lab")}, Assume: []string{roleARN("z"), roleARN("ci")},
				Resume: true, Trainers: []string{"scans", strings.Repeat("long", 15)}, Outputs: []string{"s3://models/runs"},
				Images: []string{"arn:aws:ecr:eu-central-1:111122223333:repository/train"}, NoVolumes: true, SigningKey: "arn:aws:kms:eu-central-1:111122223333:key/ffffffff-12ab-34cd-56ef-1234567890ab",
				VPC: true, LogTo: "s3://logs/data", ExpireDays: 30, AbortDays: 3}, "ml/x/", ""},
		"no signing key":   {map[string]string{"bucket": "data", "signing_key": "none"}, provision.Settings{SigningKey: provision.NoKey}, "", ""},
		"logs at the root": {map[string]string{"bucket": "data.of.ml", "access_logs": "s3://logs"}, provision.Settings{LogTo: "s3://logs"}, "", ""},
	} {
		tests[name] = test
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.region != "" {
				inRegion(t, test.region)
			}
			test.config["admins"] = `["` + admin + `"]`
			test.settings.Admins = []string{admin}
			s, err := declare(admin, test.config)
			if err != nil {
				t.Fatal(err)
			}
			aws := aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", "")}
			r := &recorder{facts: map[string]string{}}
			aws.HTTPClient = r
			p, err := provision.New(aws, provision.Target{Bucket: test.config["bucket"], Prefix: test.prefix, Settings: test.settings})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := p.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Apply(t.Context(), plan, func(provision.Step) {}); err != nil {
				t.Fatal(err)
			}
			got := s.facts(t)
			if len(r.facts) < 20 {
				t.Errorf("init has made %s", slices.Sorted(maps.Keys(r.facts)))
			}
			for fact := range maps.Keys(merged(got, r.facts)) {
				if got[fact] != r.facts[fact] {
					t.Errorf("%s: Pulumi makes\n%s\nand vaultpack init\n%s", fact, got[fact], r.facts[fact])
				}
			}
			// And they tell the same of it.
			for key, want := range map[string]string{"kms_key_id": p.Outputs().KMSKeyID, "s3_bucket_name": p.Outputs().S3BucketName,
				"uploader_role_arn": p.Outputs().UploaderRole, "reader_role_arn": p.Outputs().ReaderRole, "signing_key_arn": p.Outputs().SigningKey} {
				if got := s.outputs[key]; got != want && (got != nil || want != "") || want == "" && key != "signing_key_arn" {
					t.Errorf("%s is %v, and of init %v", key, s.outputs[key], want)
				}
			}
		})
	}
}

func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}
