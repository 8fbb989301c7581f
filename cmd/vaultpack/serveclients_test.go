package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A client is a program that others have made, which copies all of a served dataset.
type client struct {
	needs string // the command
	copy  func(s *servedPlace, dir string) *exec.Cmd
}

var clients = map[string]client{
	"rclone": {"rclone", func(s *servedPlace, dir string) *exec.Cmd {
		return s.client("rclone", "copy", "--retries", "1", "--low-level-retries", "1", ":s3,provider=Other,env_auth,endpoint='"+s.at.S3+"':scans", dir)
	}},
	"rclone by WebDAV": {"rclone", func(s *servedPlace, dir string) *exec.Cmd {
		pass, err := exec.Command("rclone", "obscure", s.at.Token).Output()
		check(s.t, err)
		return s.client("rclone", "copy", "--retries", "1", "--low-level-retries", "1", ":webdav,url='"+s.at.HTTP+"/scans',user=x,pass='"+strings.TrimSpace(string(pass))+"':", dir)
	}},
	"aws": {"aws", func(s *servedPlace, dir string) *exec.Cmd {
		return s.client("aws", "s3", "cp", "--quiet", "--recursive", "s3://scans", dir)
	}},
	"s5cmd": {"s5cmd", func(s *servedPlace, dir string) *exec.Cmd {
		return s.client("s5cmd", "--retry-count", "0", "cp", "s3://scans/*", dir+"/")
	}},
	"s3fs": {"s3fs", func(s *servedPlace, dir string) *exec.Cmd {
		return s.client("sh", "-c", `m=$(mktemp -d) && echo "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" >$m.pw && chmod 600 $m.pw &&
			s3fs scans $m -o passwd_file=$m.pw,url=$S3_ENDPOINT_URL,use_path_request_style,ro,retries=1 && { cp -r $m/. "$0"; code=$?; umount $m; exit $code; }`, dir)
	}},
	"boto3": {"python3", func(s *servedPlace, dir string) *exec.Cmd { return s.client("python3", "-c", withBoto3, dir) }},
}

// withBoto3 also reads ranges, and asks for what is not there and what has not changed.
const withBoto3 = `
import os, sys, boto3, botocore
# Before 1.28 it does not know AWS_ENDPOINT_URL.
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=botocore.config.Config(retries={"max_attempts": 0}))
assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["scans"]
for page in s3.get_paginator("list_objects_v2").paginate(Bucket="scans", PaginationConfig={"PageSize": 7}):
    for o in page["Contents"]:
        name = os.path.join(sys.argv[1], o["Key"])
        os.makedirs(os.path.dirname(name), exist_ok=True)
        s3.download_file("scans", o["Key"], name)
        whole = open(name, "rb").read()
        assert len(whole) == o["Size"]
        if len(whole) > 10:
            r = s3.get_object(Bucket="scans", Key=o["Key"], Range="bytes=3-8")
            assert r["Body"].read() == whole[3:9] and r["ContentRange"] == "bytes 3-8/%d" % len(whole)
        try:
            s3.get_object(Bucket="scans", Key=o["Key"], IfNoneMatch=s3.head_object(Bucket="scans", Key=o["Key"])["ETag"])
            raise SystemExit("what has not changed was sent")
        except botocore.exceptions.ClientError as e:
            assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 304, e
try:
    s3.get_object(Bucket="scans", Key="none")
    raise SystemExit("a file that is not there was sent")
except s3.exceptions.NoSuchKey:
    pass
`

// client is a command with the credentials that serve has made.
func (s *servedPlace) client(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.home
	cmd.Env = append(os.Environ(), "HOME="+s.home, "AWS_ACCESS_KEY_ID="+s.at.AccessKey, "AWS_SECRET_ACCESS_KEY="+s.at.Secret, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ENDPOINT_URL="+s.at.S3, "S3_ENDPOINT_URL="+s.at.S3, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_CA_BUNDLE=", "AWS_MAX_ATTEMPTS=1", "RCLONE_CONFIG=/dev/null")
	return cmd
}

// have skips the test unless there is a client.
func (c client) have(t *testing.T) {
	if _, err := exec.LookPath(c.needs); err != nil {
		t.Skipf("%s is not installed", c.needs)
	}
	if _, err := os.Stat("/dev/fuse"); c.needs == "s3fs" && (err != nil || os.Getuid() != 0) {
		t.Skip("NOT TESTED: a mount, which takes root and /dev/fuse")
	}
	if c.needs == "python3" && exec.Command("python3", "-c", "import boto3").Run() != nil {
		t.Skip("boto3 is not installed")
	}
	if c.needs == "aws" && exec.Command("aws", "--version").Run() != nil {
		t.Skip("aws is not installed")
	}
}

// Programs that know nothing of vaultpack copy a served dataset whole, whatever its names;
// of one that was changed in the vault they get an error, and no wrong byte.
func TestServedToClients(t *testing.T) {
	race.Skip(t, "it is another process")
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			c.have(t)
			p := newPlace(t)
			for i, file := range []string{"empty", "a/b c/é ü.txt", "a/plus+sign&and=.txt", "a/percent%41.txt", "large.bin", "many/1", "many/2", "many/3", "many/4", "~tilde'quote.txt"} {
				write(t, filepath.Join(p.home, "scans", file), treetest.Bytes(map[string]int64{"empty": 0, "large.bin": 20 << 20}[file]+int64(i), uint8(i)))
			}
			check(t, os.Truncate(filepath.Join(p.home, "scans", "empty"), 0))
			p.run(exitDone, "push", "-q", "--checksum", "./scans") // which clients compare
			s := p.serve("--s3", "127.0.0.1:0", "--http", "127.0.0.1:0", "scans")
			out := filepath.Join(p.home, "out")
			check(t, os.Mkdir(out, 0o755))
			if text, err := c.copy(s, out).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			sameFiles(t, filepath.Join(p.home, "scans"), out)

			changed := flipPacks(t, p.home)
			s.cmd.Process.Kill()
			s.cmd.Wait()
			s = p.serve("--s3", "127.0.0.1:0", "--http", "127.0.0.1:0", "scans")
			bad := filepath.Join(p.home, "bad")
			check(t, os.Mkdir(bad, 0o755))
			cmd := c.copy(s, bad)
			limit := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
			text, err := cmd.CombinedOutput()
			limit.Stop()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !exit.Exited() {
				t.Errorf("of %d changed packs: %v\n%s", changed, err, text)
			}
			whole := 0
			check(t, filepath.WalkDir(bad, func(file string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				rel, _ := filepath.Rel(bad, file)
				got, err := os.ReadFile(file)
				check(t, err)
				if want, err := os.ReadFile(filepath.Join(p.home, "scans", rel)); err == nil { // else it is the client's temporary file
					if !strings.HasPrefix(string(want), string(got)) { // it may be cut off
						t.Errorf("%s has %d bytes that are not those of the file", rel, len(got))
					}
					if len(got) == len(want) {
						whole++
					}
				}
				return nil
			}))
			if whole == 10 {
				t.Error("everything came")
			}
		})
	}
}

// flipPacks changes a byte in each pack of the place's vault.
func flipPacks(t *testing.T, home string) (n int) {
	t.Helper()
	check(t, filepath.WalkDir(home, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(name, "/scans/packs/") {
			return err
		}
		b, err := os.ReadFile(name)
		check(t, err)
		b[len(b)/2] ^= 1
		check(t, os.Chmod(name, 0o600))
		n++
		return os.WriteFile(name, b, 0o600)
	}))
	if n == 0 {
		t.Fatal("there are no packs")
	}
	return n
}

// sameFiles compares two folders.
func sameFiles(t *testing.T, want, got string) {
	t.Helper()
	list := func(dir string) map[string]string {
		all := map[string]string{}
		check(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(name)
			rel, _ := filepath.Rel(dir, name)
			all[rel] = string(b)
			return err
		}))
		return all
	}
	a, b := list(want), list(got)
	for name, text := range a {
		if b[name] != text {
			t.Errorf("%q has %d bytes, or others than the %d it should have", name, len(b[name]), len(text))
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d files came of %d", len(b), len(a))
	}
}
