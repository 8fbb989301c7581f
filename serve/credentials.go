package serve

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
)

// Credentials let clients in. They open nothing but the server that made them.
type Credentials struct {
	// AccessKeyID and SecretAccessKey sign requests of S3.
	AccessKeyID, SecretAccessKey string
	// Token stands in the URL, or is the password, of HTTP and WebDAV.
	Token string
}

// NewCredentials returns new random credentials, of letters and digits only: as an argument,
// none is taken for a flag.
func NewCredentials() Credentials {
	b := make([]byte, 10+25+20)
	rand.Read(b) // it never fails
	text := base32.StdEncoding
	return Credentials{
		AccessKeyID:     "VPCK" + text.EncodeToString(b[:10]), // 20 characters, as those of AWS
		SecretAccessKey: text.EncodeToString(b[10:35]),
		Token:           text.EncodeToString(b[35:]),
	}
}

// Names of the settings in a credentials file.
const (
	accessKeyName = "AWS_ACCESS_KEY_ID"
	secretName    = "AWS_SECRET_ACCESS_KEY"
	tokenName     = "VAULTPACK_SERVE_TOKEN"
)

// Lines returns the credentials as lines NAME=VALUE, which a shell can read.
func (c Credentials) Lines() []byte {
	return fmt.Appendf(nil, "%s=%s\n%s=%s\n%s=%s\n", accessKeyName, c.AccessKeyID, secretName, c.SecretAccessKey, tokenName, c.Token)
}

// maxCredentials is more than a file with credentials has, in bytes.
const maxCredentials = 4 << 10

// minSecret is the least length of a secret or token, in characters.
const minSecret = 20

// KeepCredentials reads the credentials in a file. If there is no such file, it makes one
// that only its owner may read, with new credentials.
func KeepCredentials(file string) (Credentials, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		c := NewCredentials()
		err := atomicfile.Create(file, 0o600, func(w io.Writer) error {
			_, err := w.Write(c.Lines())
			return err
		})
		return c, err
	}
	if err != nil {
		return Credentials{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Credentials{}, err
	case !info.Mode().IsRegular():
		return Credentials{}, fmt.Errorf("%s is not a regular file", file)
	case info.Mode().Perm()&0o077 != 0:
		return Credentials{}, fmt.Errorf("%s has credentials that other users may read or change (mode %04o); if nobody has, run: chmod 600 %[1]s; else remove it, and new ones are made",
			file, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxCredentials))
	if err != nil {
		return Credentials{}, err
	}
	c, err := parseCredentials(b)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w; remove the file, and new credentials are made", file, err)
	}
	return c, nil
}

func parseCredentials(b []byte) (c Credentials, err error) {
	fields := map[string]*string{accessKeyName: &c.AccessKeyID, secretName: &c.SecretAccessKey, tokenName: &c.Token}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		field := fields[name]
		if field == nil || *field != "" {
			return c, errors.New("it has a line that does not belong there, or twice")
		}
		*field = value
	}
	if c.AccessKeyID == "" || len(c.SecretAccessKey) < minSecret || len(c.Token) < minSecret || strings.ContainsAny(c.AccessKeyID+c.Token, "/:,= \t") {
		return c, fmt.Errorf("it must have %s, %s and %s, the latter of at least %d characters", accessKeyName, secretName, tokenName, minSecret)
	}
	return c, nil
}
