package s3store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc64"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/s3test"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// The checksum of "123456789" is the one that the catalogue of CRC algorithms
// gives for CRC-64/NVME.
func TestCombineCRC(t *testing.T) {
	if got := crc64.Checksum([]byte("123456789"), nvme); got != 0xae8b14860a799888 {
		t.Fatalf("the checksum of the catalogue's check string is %#x", got)
	}
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	for _, cut := range []int{0, 1, 2, 7, 8, 4096, 123457, len(data) - 1, len(data)} {
		got := s3store.CombineCRC(crc64.Checksum(data[:cut], nvme), crc64.Checksum(data[cut:], nvme), int64(len(data)-cut))
		if want := crc64.Checksum(data, nvme); got != want {
			t.Errorf("cut at %d: %#x, want %#x", cut, got, want)
		}
	}
}

func write(data []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(data); return err }
}

// What lies in the bucket is looked at with a client of its own: encryption,
// checksums, tags, and that nothing else is left.
func TestS3Upload(t *testing.T) {
	ctx := context.Background()
	for name, server := range map[string]*s3test.Server{"minio http": s3test.MinIO(t, false), "minio https": s3test.MinIO(t, true)} {
		// In a bucket with another default, the headers of the requests decide.
		for _, bucket := range []string{server.Bucket(t), server.EncryptedBucket(t)} {
			set := settings(server)
			set.Tags = map[string]string{"team": "radiology + more", "data class": "1"}
			set.StorageClass = "REDUCED_REDUNDANCY" // one that MinIO knows
			s := openS3(t, "s3://"+bucket+"/p/", set)
			large := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
			small := []byte("small")
			for _, c := range []struct {
				key    string
				data   []byte
				upload func() error
				class  types.StorageClass
			}{
				{"p/large", large, func() error { return s.Put(ctx, "large", write(large)) }, "REDUCED_REDUNDANCY"},
				{"p/small", small, func() error { return s.Put(ctx, "small", write(small)) }, ""},
				{"p/created", small, func() error { return s.Create(ctx, "created", small) }, ""},
			} {
				if err := c.upload(); err != nil {
					t.Fatalf("%s, %s: %v", name, c.key, err)
				}
				c2 := server.Client(t)
				head, err := c2.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &c.key, ChecksumMode: types.ChecksumModeEnabled})
				if err != nil {
					t.Fatal(err)
				}
				if head.ServerSideEncryption != types.ServerSideEncryptionAwsKms || !strings.HasSuffix(aws.ToString(head.SSEKMSKeyId), server.KMSKey) {
					t.Errorf("%s, %s: encrypted with %q, key %q", name, c.key, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId))
				}
				sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc64.Checksum(c.data, nvme)))
				if aws.ToString(head.ChecksumCRC64NVME) != sum || head.ChecksumType != types.ChecksumTypeFullObject {
					t.Errorf("%s, %s: CRC64NVME %q of type %q, want %q of the full object", name, c.key, aws.ToString(head.ChecksumCRC64NVME), head.ChecksumType, sum)
				}
				if head.StorageClass != c.class {
					t.Errorf("%s, %s: storage class %q, want %q", name, c.key, head.StorageClass, c.class)
				}
				tags, err := c2.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: &c.key})
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]string{}
				for _, tag := range tags.TagSet {
					got[*tag.Key] = *tag.Value
				}
				if len(got) != 2 || got["team"] != "radiology + more" || got["data class"] != "1" {
					t.Errorf("%s, %s: tags %v", name, c.key, got)
				}
			}
			// 20 MiB in parts of 8: create, 3 parts, complete; two single PUTs; a HEAD each.
			u := s.Usage()
			if u.Puts != 7 || u.Gets != 3 || u.Lists != 0 || u.Deletes != 0 || u.Retries != 0 || u.BytesSent < int64(len(large)) || u.BytesSent > int64(len(large))+4096 {
				t.Errorf("%s: the usage is %+v", name, u)
			}
		}
	}
}

// versitygw accepts the headers for SSE and ignores them.
func TestSSEFailsClosed(t *testing.T) {
	ctx := context.Background()
	for _, https := range []bool{false, true} {
		server := s3test.Versity(t, https)
		bucket := server.Bucket(t)
		set := settings(server)
		set.SSE, set.KMSKey = "", "arn:aws:kms:us-east-1:111122223333:key/1234"
		s := openS3(t, "s3://"+bucket, set)
		for name, op := range map[string]func() error{
			"Create": func() error { return s.Create(ctx, "d/created", []byte("x")) },
			"Put":    func() error { return s.Put(ctx, "d/put", write([]byte("x"))) },
			"large":  func() error { return s.Put(ctx, "d/large", write(make([]byte, 20<<20))) },
		} {
			err := op()
			var sse *s3store.SSEError
			if !errors.As(err, &sse) || !sse.Removed || sse.GotSSE != "" || sse.WantKey != set.KMSKey {
				t.Errorf("https %v, %s: %v; want an SSEError", https, name, err)
			}
		}
		for o, err := range s.List(ctx, "") {
			t.Errorf("https %v: %v, %v was left", https, o, err)
		}
	}
}

// An upload that ends early leaves no parts, which are billed but not listed.
func TestNoPartsAreLeft(t *testing.T) {
	t.Run("MinIO", func(t *testing.T) { testNoPartsAreLeft(t, s3test.MinIO(t, false)) })
	t.Run("versitygw", func(t *testing.T) { testNoPartsAreLeft(t, s3test.Versity(t, false)) })
}

func testNoPartsAreLeft(t *testing.T, server *s3test.Server) {
	bucket := server.Bucket(t)
	s, client := openS3(t, "s3://"+bucket+"/p", settings(server)), server.Client(t)
	uploads := func() int {
		t.Helper()
		out, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Uploads)
	}
	seen := 0
	broken := errors.New("the writer broke")
	ctx, cancel := context.WithCancel(t.Context())
	for _, end := range []func() error{func() error { return broken }, func() error { cancel(); return nil }} {
		err := s.Put(ctx, "d/x", func(w io.Writer) error {
			if _, err := w.Write(make([]byte, 25<<20)); err != nil {
				return err
			}
			seen += uploads()
			return end()
		})
		if err == nil {
			t.Fatal("the upload succeeded")
		}
		if n := uploads(); n != 0 {
			t.Errorf("%d unfinished uploads are left after: %v", n, err)
		}
	}
	if seen != 2 {
		t.Errorf("in their midst, %d of 2 uploads were seen", seen)
	}

	// Those of processes that died are aborted by their age, below the prefix only.
	for _, key := range []string{"p/d/one", "p/d/two", "p/e/other", "q/d/other"} {
		if _, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sweep(t.Context(), "d/"); err != nil || uploads() != 4 {
		t.Errorf("Sweep aborted young uploads: %v, %d are left of 4", err, uploads())
	}
	if n, err := s.AbortStale(t.Context(), "d/", -time.Minute); n != 2 || err != nil || uploads() != 2 {
		t.Errorf("AbortStale = %d, %v, and %d uploads are left of 4; want 2, 2", n, err, uploads())
	}
}

// Listings longer than a page.
func TestS3Pages(t *testing.T) {
	server := s3test.MinIO(t, false)
	bucket := server.Bucket(t)
	set := settings(server)
	s := openS3(t, "s3://"+bucket, set)
	client := server.Client(t)
	const n = 1100
	names := make(chan int)
	done := make(chan error)
	for range 4 {
		go func() {
			var err error
			for i := range names {
				key := "many/" + string(rune('a'+i/100)) + "/" + time.Duration(i).String() + "/x"
				_, perr := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(nil)})
				err = errors.Join(err, perr)
			}
			done <- err
		}()
	}
	for i := range n {
		names <- i
	}
	close(names)
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for _, err := range s.List(t.Context(), "many/") {
		if err != nil {
			t.Fatal(err)
		}
		got++
	}
	if folders, err := s.Folders(t.Context(), "many/"); got != n || len(folders) != 11 || err != nil {
		t.Errorf("%d objects in the folders %q, %v; want %d in 11", got, folders, err, n)
	}
	if u := s.Usage(); u.Lists != 3 {
		t.Errorf("the usage is %+v; want 2 pages of objects and 1 of folders", u)
	}
}

func TestParseS3URL(t *testing.T) {
	const point = "arn:aws:s3:eu-central-1:111122223333:accesspoint/my-point"
	for url, want := range map[string]s3store.Location{
		"s3://bucket":            {Bucket: "bucket"},
		"S3://bucket/":           {Bucket: "bucket"},
		"s3://my.bucket-1/a":     {Bucket: "my.bucket-1", Prefix: "a/"},
		"s3://bucket/a/b c/":     {Bucket: "bucket", Prefix: "a/b c/"},
		"s3://" + point:          {Bucket: point},
		"s3://" + point + "/":    {Bucket: point},
		"s3://" + point + "/a/b": {Bucket: point, Prefix: "a/b/"},
		"s3://arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/p-1/x": {
			Bucket: "arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/p-1", Prefix: "x/"},
		"s3://arn:aws:s3::111122223333:accesspoint/abc.mrap/x": {
			Bucket: "arn:aws:s3::111122223333:accesspoint/abc.mrap", Prefix: "x/"},
	} {
		if got, err := s3store.ParseURL(url); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", url, got, err, want)
		}
	}
	for _, url := range []string{
		"", "bucket", "s3:/bucket", "https://bucket", "s3://", "s3:///a", "s3://Bucket", "s3://b", "s3://a_b", "s3://-ab", "s3://ab-",
		"s3://a..b", "s3://192.168.0.1", "s3://key:secret@bucket", "s3://bucket:443/a", "s3://bucket?x", "s3://bucket#x",
		"s3://" + strings.Repeat("b", 64), "s3://bucket//a", "s3://bucket/a//b", "s3://bucket/a//", "s3://bucket/../a", "s3://bucket/./a",
		"s3://bucket/a?x=1", "s3://bucket/a#x", "s3://bucket/\x00", "s3://bucket/a\nb", "s3://bucket/\xff", "s3://bucket/a\\b",
		"s3://bucket/" + strings.Repeat("a/", 300), "s3://bucket--x--x-s3",
		"s3://arn:aws:s3:::bucket", "s3://arn:aws:s3:r:111122223333:bucket/x", "s3://arn:aws:s3:r:1:accesspoint/point",
		"s3://arn:aws:s3:r:111122223333:accesspoint/", "s3://arn:aws:kms:r:111122223333:key/x",
		"s3://arn:aws:s3-outposts:r:111122223333:outpost/o/accesspoint/p",
	} {
		if got, err := s3store.ParseURL(url); err == nil {
			t.Errorf("%s was read as %+v", url, got)
		}
	}
}

func TestS3Settings(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	keys := []func(*config.LoadOptions) error{config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("a", "b", "")),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil)}
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	good := s3store.Settings{Region: "eu-central-1", KMSKey: key, LoadOptions: keys}
	if _, err := s3store.Open(t.Context(), "s3://bucket/p", good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*s3store.Settings){
		"kms_key is missing":      func(s *s3store.Settings) { s.KMSKey = "" },
		"alias":                   func(s *s3store.Settings) { s.KMSKey = "alias/mine" },
		"a key's ARN":             func(s *s3store.Settings) { s.KMSKey = "1234" },
		"but sse is none":         func(s *s3store.Settings) { s.SSE = "none" },
		"aws:kms or none":         func(s *s3store.Settings) { s.SSE = "AES256" },
		"part_size":               func(s *s3store.Settings) { s.PartSize = 17 << 20 },
		"cannot be negative":      func(s *s3store.Settings) { s.Attempts = -1 },
		"region of":               func(s *s3store.Settings) { s.Region = "" },
		"GLACIER_IR":              func(s *s3store.Settings) { s.StorageClass = "DEEP_ARCHIVE" },
		"storage_class is":        func(s *s3store.Settings) { s.StorageClass = "cheap" },
		"12 digits":               func(s *s3store.Settings) { s.BucketOwner = "me" },
		"\"aws:x\" is not one":    func(s *s3store.Settings) { s.Tags = map[string]string{"aws:x": ""} },
		"\"k\" is not one":        func(s *s3store.Settings) { s.Tags = map[string]string{"k": "a&b"} },
		"config profile, missing": func(s *s3store.Settings) { s.Profile = "missing" },
	} {
		set := good
		change(&set)
		if _, err := s3store.Open(t.Context(), "s3://bucket/p", set); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("want an error with %q, got: %v", want, err)
		}
	}
}

// Errors of a real server say what is wrong and what to do.
func TestS3Errors(t *testing.T) {
	server := s3test.MinIO(t, false)
	there := "s3://" + server.Bucket(t)
	stat := func(url string, change func(*s3store.Settings)) error {
		set := settings(server)
		set.Attempts = 2
		change(&set)
		_, err := openS3(t, url, set).Stat(t.Context(), "x")
		if err == nil {
			t.Fatalf("no error from %s", url)
		}
		return err
	}
	nothing := func(*s3store.Settings) {}
	if err := stat(there, nothing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing object: %v", err)
	}
	wrong := func(s *s3store.Settings) {
		s.LoadOptions = append(s.LoadOptions, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("nobody", "wrong", "")))
	}
	set := settings(server)
	wrong(&set)
	err := openS3(t, there, set).Put(t.Context(), "x", write(nil))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "does not know these AWS credentials") {
		t.Errorf("credentials that are unknown: %v", err)
	}
	set = settings(server)
	err = openS3(t, "s3://no-such-bucket", set).Put(t.Context(), "x", write(nil))
	if errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "there is no bucket no-such-bucket") {
		t.Errorf("no such bucket: %v", err)
	}
	for _, err := range openS3(t, "s3://no-such-bucket", set).List(t.Context(), "") {
		if errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "there is no bucket no-such-bucket") {
			t.Errorf("no such bucket: %v", err)
		}
	}
	set.KMSKey = "other-key"
	if err := openS3(t, there, set).Put(t.Context(), "x", write(nil)); err == nil || !strings.Contains(err.Error(), "there is no KMS key other-key") {
		t.Errorf("a key that is unknown: %v", err)
	}
	set = settings(server)
	set.Region = "eu-central-1"
	set.LoadOptions = append(set.LoadOptions, config.WithRegion("eu-central-1"))
	if err := openS3(t, there, set).Put(t.Context(), "x", write(nil)); err == nil || !strings.Contains(err.Error(), "region") {
		t.Errorf("the wrong region: %v", err)
	}
	if err := stat(there, func(s *s3store.Settings) { s.Endpoint = "http://127.0.0.1:1" }); !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody there: %v", err)
	}
}

// What a Put keeps in memory is bounded, whatever the object's size.
func TestPutMemory(t *testing.T) {
	server := httptest.NewServer(&sink{})
	defer server.Close()
	s := openS3(t, "s3://bucket", s3store.Settings{Endpoint: server.URL, SSE: s3store.SSENone,
		LoadOptions: (&s3test.Server{Region: "us-east-1", AccessKey: "a", SecretKey: "b"}).Options()})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	block := make([]byte, 4<<20)
	before, peak := heap(), int64(0)
	err := s.Put(t.Context(), "x", func(w io.Writer) error {
		for range 64 {
			if _, err := w.Write(block); err != nil {
				return err
			}
			peak = max(peak, heap()-before)
		}
		return nil
	})
	const rest = 2 << 20 // connections, the server's as well
	if err != nil || peak > s.PutMemory()+rest || peak < 8<<20 {
		t.Errorf("an upload of 256 MiB took %d bytes of memory, %v; the bound is %d", peak, err, s.PutMemory())
	}
}

// The requests of an upload are those that are foretold.
func TestPutRequests(t *testing.T) {
	server := httptest.NewServer(&sink{})
	defer server.Close()
	const part = 5 << 20
	s := openS3(t, "s3://bucket", s3store.Settings{Endpoint: server.URL, SSE: s3store.SSENone, PartSize: part,
		LoadOptions: (&s3test.Server{Region: "us-east-1", AccessKey: "a", SecretKey: "b"}).Options()})
	data := make([]byte, 3*part)
	for _, size := range []int64{0, 1, part - 1, part, part + 1, 2 * part, 2*part + 1} {
		before := s.Usage()
		if err := s.Put(t.Context(), "x", write(data[:size])); err != nil {
			t.Fatal(err)
		}
		after, want := s.Usage(), s.PutRequests(size)
		if after.Puts-before.Puts != want.Puts || after.Gets-before.Gets != want.Gets || after.Lists != 0 || after.Deletes != 0 {
			t.Errorf("%d bytes: the usage went from %+v to %+v; foretold were %+v", size, before, after, want)
		}
		// What completes an upload is some XML.
		if sent := after.BytesSent - before.BytesSent; sent < size || sent > size+2000 || want.Puts == 1 && sent != size {
			t.Errorf("%d bytes: %d were sent", size, sent)
		}
	}
}
