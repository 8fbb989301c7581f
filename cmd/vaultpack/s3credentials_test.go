package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
)

// temporary are credentials of a session, as the server's own STS gives them.
func temporary(t *testing.T, server *s3test.Server) (xml string, keys map[string]string) {
	t.Helper()
	const body = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(body))
	check(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	creds := aws.Credentials{AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey}
	check(t, v4.NewSigner().SignHTTP(t.Context(), creds, r, fmt.Sprintf("%x", sha256.Sum256([]byte(body))), "sts", server.Region, time.Now()))
	resp, err := server.Transport().RoundTrip(r)
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	keys = map[string]string{}
	for _, m := range regexp.MustCompile(`<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>([^<]+)<`).FindAllStringSubmatch(string(b), -1) {
		keys[m[1]] = m[2]
	}
	if len(keys) != 4 {
		t.Fatalf("STS says: %s", b)
	}
	return string(b), keys
}

// loggedIn makes what "aws sso login" leaves behind: a session in the profile, and
// its token in the cache.
func loggedIn(t *testing.T, home string, valid time.Duration, portal string) (env []string) {
	write(t, filepath.Join(home, "config"), []byte("[default]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = reader\n"+
		"[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n"))
	token, err := json.Marshal(map[string]string{"accessToken": "a token", "expiresAt": time.Now().Add(valid).UTC().Format(time.RFC3339),
		"region": "us-east-1", "startUrl": "https://corp.awsapps.com/start"})
	check(t, err)
	write(t, filepath.Join(home, ".aws/sso/cache", fmt.Sprintf("%x.json", sha1.Sum([]byte("corp")))), token)
	return []string{"AWS_CONFIG_FILE=" + filepath.Join(home, "config"), "AWS_ENDPOINT_URL_SSO=" + portal}
}

// Credentials come through the chain of the AWS SDK, wherever it finds them.
func TestCredentials(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	src := filepath.Join(c.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	c.run(0, "push", "-q", src, "-d", "there")

	ini := func(section string) []byte {
		return fmt.Appendf(nil, "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
			section, server.AccessKey, server.SecretKey)
	}
	session, keys := temporary(t, server)
	asked := map[string]int{}
	ask := func(t *testing.T, name string, answer http.HandlerFunc) string {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[name]++
			answer(w, r)
		}))
		t.Cleanup(h.Close)
		return h.URL
	}
	for _, from := range []struct {
		name string
		// env makes the variables, with which the files in home are found.
		env  func(t *testing.T, home string) []string
		code int
	}{
		{"environment", func(*testing.T, string) []string {
			return []string{"AWS_ACCESS_KEY_ID=" + server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + server.SecretKey}
		}, 0},
		{"environment, of a session", func(*testing.T, string) []string {
			return []string{"AWS_ACCESS_KEY_ID=" + keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY=" + keys["SecretAccessKey"], "AWS_SESSION_TOKEN=" + keys["SessionToken"]}
		}, 0},
		{"a profile of the configuration", func(t *testing.T, home string) []string {
			write(t, filepath.Join(home, "config"), ini("profile data"))
			return []string{"AWS_PROFILE=data", "AWS_CONFIG_FILE=" + filepath.Join(home, "config")}
		}, 0},
		{"a profile of the credentials", func(t *testing.T, home string) []string {
			write(t, filepath.Join(home, "credentials"), ini("data"))
			return []string{"AWS_PROFILE=data", "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(home, "credentials")}
		}, 0},
		{"a process", func(t *testing.T, home string) []string {
			answer, err := json.Marshal(map[string]any{"Version": 1, "AccessKeyId": server.AccessKey, "SecretAccessKey": server.SecretKey})
			check(t, err)
			write(t, filepath.Join(home, "answer"), answer)
			write(t, filepath.Join(home, "config"), fmt.Appendf(nil, "[default]\ncredential_process = cat %s\n", filepath.Join(home, "answer")))
			return []string{"AWS_CONFIG_FILE=" + filepath.Join(home, "config")}
		}, 0},
		{"a container", func(t *testing.T, home string) []string {
			url := ask(t, "a container", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "the token" {
					http.Error(w, "who are you?", http.StatusUnauthorized)
					return
				}
				json.NewEncoder(w).Encode(map[string]string{"AccessKeyId": keys["AccessKeyId"],
					"SecretAccessKey": keys["SecretAccessKey"], "Token": keys["SessionToken"], "Expiration": keys["Expiration"]})
			})
			return []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + url + "/role", "AWS_CONTAINER_AUTHORIZATION_TOKEN=the token"}
		}, 0},
		{"a web identity", func(t *testing.T, home string) []string {
			const role = "arn:aws:iam::111122223333:role/trainer"
			url := ask(t, "a web identity", func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("RoleArn") != role || r.FormValue("WebIdentityToken") != "a token" {
					http.Error(w, "", http.StatusBadRequest)
					return
				}
				io.WriteString(w, strings.ReplaceAll(session, "AssumeRole", "AssumeRoleWithWebIdentity"))
			})
			write(t, filepath.Join(home, "token"), []byte("a token"))
			return []string{"AWS_ROLE_ARN=" + role, "AWS_WEB_IDENTITY_TOKEN_FILE=" + filepath.Join(home, "token"), "AWS_ENDPOINT_URL_STS=" + url}
		}, 0},
		{"the cache of SSO", func(t *testing.T, home string) []string {
			return loggedIn(t, home, time.Hour, ask(t, "the cache of SSO", func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if r.Header.Get("X-Amz-Sso_bearer_token") != "a token" || q.Get("account_id") != "111122223333" || q.Get("role_name") != "reader" {
					http.Error(w, "{}", http.StatusUnauthorized)
					return
				}
				until, err := time.Parse(time.RFC3339, keys["Expiration"])
				check(t, err)
				json.NewEncoder(w).Encode(map[string]any{"roleCredentials": map[string]any{"accessKeyId": keys["AccessKeyId"],
					"secretAccessKey": keys["SecretAccessKey"], "sessionToken": keys["SessionToken"], "expiration": until.UnixMilli()}})
			}))
		}, 0},
		{"a cache of SSO that has expired", func(t *testing.T, home string) []string {
			return loggedIn(t, home, -time.Hour, "http://127.0.0.1:1")
		}, exitNotAllowed},
		{"nowhere", func(*testing.T, string) []string { return nil }, exitNotAllowed},
		{"a profile that is wrong", func(t *testing.T, home string) []string {
			write(t, filepath.Join(home, "config"), ini("profile data"))
			return []string{"AWS_CONFIG_FILE=" + filepath.Join(home, "config")}
		}, exitNotAllowed},
	} {
		t.Run(from.name, func(t *testing.T) {
			c := c.elsewhere(t)
			c.through(server.URL)
			c.env = slices.DeleteFunc(c.env, func(s string) bool {
				return strings.HasPrefix(s, "AWS_") && !strings.HasPrefix(s, "AWS_ENDPOINT_URL_") && !strings.HasPrefix(s, "AWS_REGION=")
			})
			c.env = append(c.env, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
			c.env = append(c.env, from.env(t, c.home)...)
			stdout, stderr := c.run(from.code, "ls")
			switch {
			case from.name == "nowhere":
				says(t, stderr, "AWS credentials were found", "aws sso login")
			case from.name == "a cache of SSO that has expired":
				says(t, stderr, "aws sso login")
			case from.code != 0:
				says(t, stderr, "the server does not know these AWS credentials")
			case !strings.HasPrefix(stdout, "there"):
				t.Errorf("ls: %q", stdout)
			}
		})
	}
	if asked["a container"] == 0 || asked["a web identity"] == 0 || asked["the cache of SSO"] == 0 {
		t.Errorf("asked for credentials: %v", asked)
	}
}
