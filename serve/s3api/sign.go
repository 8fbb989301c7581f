package s3api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 4, by which a client shows that it has the secret access key.
//
// The requests are not signed again with the AWS SDK's signer, since that leaves out some
// headers which other clients sign: User-Agent, which the SDK for Java 1, and so Spark,
// does. Tests compare the two.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeForm   = "20060102T150405Z"
	dateForm   = "20060102"
	terminator = "aws4_request"
	service    = "s3"

	maxSkew    = 15 * time.Minute
	maxExpires = 7 * 24 * time.Hour
)

// A claim is what a request says about its signature.
type claim struct {
	accessKey    string
	date, region string // of its scope
	at           time.Time
	signed       []string // names of headers, in lower case
	signature    string
	payload      string // the hash of the body, or what stands for it
	presigned    bool
}

// authorize returns an error unless the request is signed with the credentials.
func (h *handler) authorize(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errArgument
	}
	var c *claim
	switch {
	case r.Header.Get("Authorization") != "":
		c, err = claimOfHeader(r)
	case query.Has("X-Amz-Signature"):
		c, err = claimOfQuery(query)
	case query.Has("Signature"): // of version 2
		return errAuthVersion
	default:
		return errMissingAuth
	}
	if err != nil {
		return err
	}
	if err := c.timely(h.now(), query); err != nil {
		return err
	}
	// Whatever is said to be AWS's must have been said by who has signed.
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(c.signed, name) &&
			!(c.presigned && name == "x-amz-content-sha256") {
			return errSignature
		}
	}
	if !slices.Contains(c.signed, "host") {
		return errSignature
	}
	known := hmac.Equal([]byte(c.accessKey), []byte(h.credentials.AccessKeyID))
	same := hmac.Equal([]byte(c.signature), []byte(c.sign(r, query, h.credentials.SecretAccessKey)))
	switch {
	case !known:
		return errUnknownKey
	case !same:
		return errSignature
	}
	return nil
}

// claimOfHeader reads the header Authorization.
func claimOfHeader(r *http.Request) (*claim, error) {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm)
	if !ok {
		return nil, errAuthVersion
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	c := &claim{signature: fields["Signature"], payload: r.Header.Get("X-Amz-Content-Sha256")}
	if c.payload == "" {
		return nil, errNoPayloadHash // curl of before 8.0 leaves it out
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(timeForm, date)
	if date == "" {
		at, err = http.ParseTime(r.Header.Get("Date"))
	}
	if err != nil {
		return nil, errAuthForm
	}
	c.at = at
	return c, c.scope(fields["Credential"], fields["SignedHeaders"])
}

// claimOfQuery reads the query of a presigned URL.
func claimOfQuery(query url.Values) (*claim, error) {
	if query.Get("X-Amz-Algorithm") != algorithm {
		return nil, errAuthForm
	}
	at, err := time.Parse(timeForm, query.Get("X-Amz-Date"))
	if err != nil {
		return nil, errAuthForm
	}
	c := &claim{at: at, signature: query.Get("X-Amz-Signature"), payload: "UNSIGNED-PAYLOAD", presigned: true}
	if sum := query.Get("X-Amz-Content-Sha256"); sum != "" {
		c.payload = sum
	}
	return c, c.scope(query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"))
}

// scope takes the credential, KEY/DATE/REGION/s3/aws4_request, and the list of headers.
func (c *claim) scope(credential, headers string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[3] != service || parts[4] != terminator || headers == "" || c.signature == "" {
		return errAuthForm
	}
	c.accessKey, c.date, c.region = parts[0], parts[1], parts[2]
	if c.date != c.at.UTC().Format(dateForm) {
		return errAuthForm
	}
	c.signed = strings.Split(strings.ToLower(headers), ";")
	return nil
}

// timely returns an error unless the request was signed about now, or its URL is valid yet.
func (c *claim) timely(now time.Time, query url.Values) error {
	age := now.Sub(c.at)
	if !c.presigned {
		if age.Abs() > maxSkew {
			return errSkewed
		}
		return nil
	}
	seconds, err := strconv.ParseInt(query.Get("X-Amz-Expires"), 10, 64)
	if err != nil || seconds < 1 || seconds > int64(maxExpires/time.Second) {
		return errArgument
	}
	switch {
	case age < -maxSkew:
		return errSkewed
	case age > time.Duration(seconds)*time.Second:
		return errExpired
	}
	return nil
}

// sign returns the signature that the request must have, in hexadecimal.
func (c *claim) sign(r *http.Request, query url.Values, secret string) string {
	request := sha256.Sum256([]byte(c.canonical(r, query)))
	scope := strings.Join([]string{c.date, c.region, service, terminator}, "/")
	text := strings.Join([]string{algorithm, c.at.UTC().Format(timeForm), scope, hex.EncodeToString(request[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{c.date, c.region, service, terminator, text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// canonical returns the request in the form that is signed.
func (c *claim) canonical(r *http.Request, query url.Values) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + escape(r.URL.Path, keepSlash) + "\n")
	b.WriteString(c.canonicalQuery(query) + "\n")
	for _, name := range c.signed {
		b.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(c.signed, ";") + "\n" + c.payload)
	return b.String()
}

// canonicalQuery is sorted by the encoded names, and by the encoded values of one name.
func (c *claim) canonicalQuery(query url.Values) string {
	encoded := map[string][]string{}
	for name, values := range query {
		if c.presigned && name == "X-Amz-Signature" {
			continue
		}
		name = escape(name, 0)
		for _, value := range values {
			encoded[name] = append(encoded[name], name+"="+escape(value, 0))
		}
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(encoded)) {
		pairs = append(pairs, slices.Sorted(slices.Values(encoded[name]))...)
	}
	return strings.Join(pairs, "&")
}

// headerValue is a header as it is signed: its values joined, without superfluous spaces.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(max(r.ContentLength, 0), 10)
	}
	var values []string
	for _, v := range r.Header.Values(name) {
		values = append(values, strings.Join(strings.Fields(v), " "))
	}
	return strings.Join(values, ",")
}

const keepSlash = '/'

// escape encodes every byte that is not unreserved in RFC 3986, but for keep.
func escape(s string, keep byte) string {
	const hexDigits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || c == keep && keep != 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}
