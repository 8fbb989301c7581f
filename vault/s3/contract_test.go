package s3store_test

import (
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
	"github.com/vaultpack/vaultpack/vault/storetest"
)

// settings make a store use the server, with its KMS key if it has one.
func settings(s *s3test.Server) s3store.Settings {
	set := s3store.Settings{Endpoint: s.URL, KMSKey: s.KMSKey, LoadOptions: s.Options()}
	if s.KMSKey == "" {
		set.SSE = s3store.SSENone
	}
	return set
}

func openS3(t testing.TB, url string, set s3store.Settings) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), url, set)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// servers are all that S3 is tested against.
var servers = map[string]func(testing.TB) *s3test.Server{
	"minio http":      func(t testing.TB) *s3test.Server { return s3test.MinIO(t, false) },
	"minio https":     func(t testing.TB) *s3test.Server { return s3test.MinIO(t, true) },
	"versitygw http":  func(t testing.TB) *s3test.Server { return s3test.Versity(t, false) },
	"versitygw https": func(t testing.TB) *s3test.Server { return s3test.Versity(t, true) },
}

func TestS3Store(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			if name != "minio https" {
				race.Skip(t, "one server is enough for that")
			}
			server := start(t)
			open := func(t *testing.T) vault.Store {
				return openS3(t, "s3://"+server.Bucket(t)+"/some/prefix", settings(server))
			}
			denied := func(t *testing.T) vault.Store {
				url := "s3://" + server.Bucket(t)
				err := openS3(t, url, settings(server)).Put(t.Context(), "d/there", func(io.Writer) error { return nil })
				if err != nil {
					t.Fatal(err)
				}
				set := settings(server)
				set.LoadOptions = append(set.LoadOptions, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
				s := openS3(t, url, set)
				if _, err := s.Stat(t.Context(), "d/there"); err == nil || !strings.Contains(err.Error(), "s3:GetObject on arn:aws:s3:::"+s.Location().Bucket+"/d/there") {
					t.Errorf("the error does not name the permission: %v", err)
				}
				return s
			}
			storetest.Run(t, open, denied)
		})
	}
}
