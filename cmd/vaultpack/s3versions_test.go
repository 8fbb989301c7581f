package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
)

// A bucket with versioning keeps the keyrings that shred deletes, and with one of
// them the dataset is there again. shred says so, and deletes them when it is told
// to; what may not be deleted is named.
func TestShredInABucketWithVersions(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	denying := faultproxy.New(t, server.URL, http.DefaultTransport,
		&faultproxy.Fault{Op: "DeleteObjectVersion", Do: faultproxy.Refuse(http.StatusForbidden, "AccessDenied")})
	blind := faultproxy.New(t, server.URL, http.DefaultTransport,
		&faultproxy.Fault{Op: "ListObjectVersions", Times: -1, Do: faultproxy.Refuse(http.StatusForbidden, "AccessDenied")})
	client, bucket := server.Client(t), c.store().Location().Bucket
	_, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	check(t, err)
	src := filepath.Join(c.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	c.through(server.URL)
	c.run(0, "push", "-q", src, "-d", "d")
	c.run(0, "push", "-q", src, "-d", "other")
	c.run(0, "keys", "add", "d", "--new-kms-key", c.newKey()) // the keyring has an old version now

	old := func() (names []types.ObjectVersion) {
		t.Helper()
		prefix := c.store().Location().Prefix + "d/keys/"
		out, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
		check(t, err)
		return out.Versions
	}
	c.through(blind.URL)
	_, stderr := c.run(0, "keys", "shred", "d", "--confirm", "d")
	says(t, stderr, "cannot find out whether the bucket keeps old versions", "s3:ListBucketVersions")
	c.through(server.URL)
	c.run(exitAuthentication, "restore", "d", filepath.Join(c.home, "out"))

	// Whoever can read an old version brings the dataset back.
	versions := old()
	if len(versions) != 2 {
		t.Fatalf("%d old versions of the keyring", len(versions))
	}
	source := bucket + "/" + *versions[0].Key + "?versionId=" + *versions[0].VersionId
	_, err = client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: versions[0].Key, CopySource: &source})
	check(t, err)
	c.run(0, "restore", "d", filepath.Join(c.home, "out"))

	stdout, stderr := c.run(0, "keys", "shred", "d", "--confirm", "d")
	says(t, stdout, "shredded: 1 keyring of d")
	says(t, stderr, "keeps 3 old versions", "keys shred d --old-versions")
	c.through(denying.URL)
	_, stderr = c.run(exitNotAllowed, "keys", "shred", "d", "--confirm", "d", "--old-versions")
	says(t, stderr, "s3:DeleteObjectVersion")
	if n := len(old()); n != 1 {
		t.Errorf("%d old versions are left, want the one that could not be deleted", n)
	}
	c.through(server.URL)
	stdout, _ = c.run(0, "keys", "shred", "d", "--confirm", "d", "--old-versions")
	says(t, stdout, "deleted: 1 old version of them")
	if n := len(old()); n != 0 {
		t.Errorf("%d old versions are left", n)
	}
	_, stderr = c.run(exitFailed, "keys", "shred", "d", "--confirm", "d")
	if !strings.Contains(stderr, "no such dataset") {
		t.Errorf("shred of what is shredded: %s", stderr)
	}
	c.run(0, "verify", "other")
}
