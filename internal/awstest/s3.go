package awstest

import (
	"encoding/xml"
	"maps"
	"net/http"
	"regexp"
	"strings"
)

// A Bucket is an S3 bucket, with its settings as they were put, by the names of
// their query parameters: "policy", "lifecycle".
type Bucket struct {
	Owner, Region string
	Locked        bool // has Object Lock, so versioning cannot be turned off
	Settings      map[string]string

	objects, uploads map[string]*object
}

// AddBucket creates a bucket that exists before the test begins. A zero Owner or
// Region means the server's.
func (s *Server) AddBucket(name string, b Bucket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Owner == "" {
		b.Owner = Account
	}
	if b.Region == "" {
		b.Region = s.Region
	}
	if b.Settings = maps.Clone(b.Settings); b.Settings == nil {
		b.Settings = map[string]string{}
	}
	if b.Locked {
		b.Settings["versioning"] = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
	}
	s.buckets[name] = &b
}

// Setting returns a setting of a bucket as it was put, or "" if it was not.
func (s *Server) Setting(bucket, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucket]; b != nil {
		return b.Settings[name]
	}
	return ""
}

// HasBucket reports whether the bucket exists.
func (s *Server) HasBucket(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[name] != nil
}

// settings are the supported settings, each with the error, or the answer, that is
// returned if it is not set.
var settings = map[string]struct{ op, none string }{
	"tagging":           {"BucketTagging", "NoSuchTagSet"},
	"publicAccessBlock": {"PublicAccessBlock", "NoSuchPublicAccessBlockConfiguration"},
	"ownershipControls": {"BucketOwnershipControls", "OwnershipControlsNotFoundError"},
	"policy":            {"BucketPolicy", "NoSuchBucketPolicy"},
	"encryption":        {"BucketEncryption", "ServerSideEncryptionConfigurationNotFoundError"},
	"versioning":        {"BucketVersioning", "<VersioningConfiguration/>"},
	"lifecycle":         {"BucketLifecycleConfiguration", "NoSuchLifecycleConfiguration"},
	"logging":           {"BucketLogging", "<BucketLoggingStatus/>"},
}

func splitPath(r *http.Request) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key
}

func settingOf(r *http.Request) string {
	for name := range r.URL.Query() {
		if _, ok := settings[name]; ok {
			return name
		}
	}
	return ""
}

func bucketOp(r *http.Request) string {
	verb := map[string]string{http.MethodGet: "Get", http.MethodPut: "Put", http.MethodDelete: "Delete", http.MethodHead: "Head"}[r.Method]
	switch name := settingOf(r); {
	case name != "":
		return verb + settings[name].op
	case r.Method == http.MethodPut:
		return "CreateBucket"
	}
	return verb + "Bucket"
}

// op returns the S3 operation of a request.
func s3Op(r *http.Request) string {
	if _, key := splitPath(r); key != "" {
		return objectOp(r)
	}
	switch q := r.URL.Query(); {
	case q.Has("list-type"):
		return "ListObjectsV2"
	case q.Has("uploads"):
		return "ListMultipartUploads"
	case q.Has("versions"):
		return "ListObjectVersions"
	}
	return bucketOp(r)
}

func (s *Server) s3(w http.ResponseWriter, r *http.Request, body []byte) (string, error) {
	name, key := splitPath(r)
	setting := settingOf(r)
	if key == "" && setting == "" && r.Method == http.MethodPut {
		return "", s.createBucket(name, body)
	}
	b := s.buckets[name]
	switch {
	case b == nil:
		return "", fail(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	case b.Owner != Account, r.Header.Get("X-Amz-Expected-Bucket-Owner") != "" && r.Header.Get("X-Amz-Expected-Bucket-Owner") != b.Owner:
		return "", fail(http.StatusForbidden, "AccessDenied", "Access Denied")
	case b.Region != s.Region:
		return "", &failure{status: http.StatusMovedPermanently, code: "PermanentRedirect", msg: "the bucket is elsewhere", header: map[string]string{"X-Amz-Bucket-Region": b.Region}}
	case key != "":
		return s.object(w, r, b, key, body)
	case r.URL.Query().Has("list-type"):
		return b.list(r.URL.Query()), nil
	case r.URL.Query().Has("uploads"):
		return "<ListMultipartUploadsResult/>", nil
	case r.URL.Query().Has("versions"):
		return "<ListVersionsResult/>", nil
	case setting == "" && r.Method == http.MethodHead:
		w.Header().Set("X-Amz-Bucket-Region", b.Region)
		return "", nil
	case setting == "" && r.Method == http.MethodDelete:
		delete(s.buckets, name)
		return "", nil
	}
	switch r.Method {
	case http.MethodGet:
		text, ok := b.Settings[setting]
		none := settings[setting].none
		if !ok && !strings.HasPrefix(none, "<") {
			return "", fail(http.StatusNotFound, none, "there is none")
		}
		if !ok {
			text = none
		}
		return text, nil
	case http.MethodDelete:
		delete(b.Settings, setting)
		return "", nil
	}
	if s.isFresh("bucket " + name) {
		return "", fail(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	if s.isFresh("busy " + name) {
		return "", fail(http.StatusConflict, "OperationAborted", "A conflicting conditional operation is currently in progress against this resource. Please try again.")
	}
	if err := b.fits(setting, string(body)); err != nil {
		return "", err
	}
	b.Settings[setting] = string(body)
	return "", nil
}

// fits checks a setting against the limits of S3.
func (b *Bucket) fits(setting, text string) error {
	switch setting {
	case "policy":
		if len(text) > 20<<10 {
			return fail(http.StatusBadRequest, "PolicyTooLarge", "Policy exceeds the maximum allowed document size.")
		}
	case "tagging":
		var tags struct {
			Tags []struct{ Key, Value string } `xml:"TagSet>Tag"`
		}
		if xml.Unmarshal([]byte(text), &tags) != nil || len(tags.Tags) > 50 {
			return fail(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed")
		}
		for _, t := range tags.Tags {
			if !tagFits(t.Key, t.Value) {
				return fail(http.StatusBadRequest, "InvalidTag", "The TagValue you have provided is invalid")
			}
		}
	case "versioning":
		if b.Locked && !strings.Contains(text, ">Enabled<") {
			return fail(http.StatusConflict, "InvalidBucketState", "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
		}
	case "lifecycle":
		if !strings.Contains(text, "<Rule>") || strings.Count(text, "<Rule>") > 1000 {
			return fail(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed")
		}
	}
	return nil
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (s *Server) createBucket(name string, body []byte) error {
	var in struct {
		LocationConstraint string
		Tags               []struct{ Key, Value string } `xml:"Tags>Tag"`
	}
	if len(body) > 0 && xml.Unmarshal(body, &in) != nil {
		return fail(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed")
	}
	switch b := s.buckets[name]; {
	case !validName.MatchString(name):
		return fail(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
	case b != nil && b.Owner != Account:
		return fail(http.StatusConflict, "BucketAlreadyExists", "The requested bucket name is not available.")
	case b != nil:
		return fail(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	case s.Region == "us-east-1" && in.LocationConstraint != "", s.Region != "us-east-1" && in.LocationConstraint != s.Region:
		return fail(http.StatusBadRequest, "IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", in.LocationConstraint)
	case s.isFresh("creating " + name):
		return fail(http.StatusConflict, "OperationAborted", "A conflicting conditional operation is currently in progress against this resource. Please try again.")
	}
	b := &Bucket{Owner: Account, Region: s.Region, Settings: map[string]string{ // the default since April 2023
		"publicAccessBlock": "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>",
		"ownershipControls": "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
		"encryption":        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
	}}
	var tags strings.Builder
	for _, t := range in.Tags {
		if !tagFits(t.Key, t.Value) {
			return fail(http.StatusBadRequest, "InvalidTag", "The TagValue you have provided is invalid")
		}
		tags.WriteString("<Tag><Key>" + escape(t.Key) + "</Key><Value>" + escape(t.Value) + "</Value></Tag>")
	}
	if len(in.Tags) > 0 {
		b.Settings["tagging"] = "<Tagging><TagSet>" + tags.String() + "</TagSet></Tagging>"
	}
	s.buckets[name] = b
	s.made("bucket " + name)
	s.made("busy " + name)
	return nil
}
