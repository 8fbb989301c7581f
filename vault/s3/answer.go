package s3store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// errOtherAnswer is returned for a response to a different request: the SDK accepts any
// document as a listing, and one in which it finds nothing as an empty listing.
var errOtherAnswer = errors.New("the answer is not S3's answer to this request")

// answeredBy makes a listing fail unless the root element of the response has this name.
func answeredBy(root string) func(*s3.Options) {
	return s3.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(rootCheck(root), middleware.After)
	})
}

// A rootCheck is the name of a document's root.
type rootCheck string

func (rootCheck) ID() string { return "VaultpackRoot" }

func (c rootCheck) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || resp.StatusCode != 200 {
		return out, meta, err
	}
	body := bufio.NewReaderSize(resp.Body, 4<<10)
	begin, _ := body.Peek(4 << 10) // an error of the connection recurs when the body is read
	if rootOf(begin) != string(c) {
		resp.Body.Close()
		return out, meta, errOtherAnswer
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return out, meta, nil
}

// rootOf returns the name of the root element of a document with this beginning, or "".
func rootOf(begin []byte) string {
	d := xml.NewDecoder(bytes.NewReader(begin))
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		if e, ok := t.(xml.StartElement); ok {
			return e.Name.Local
		}
	}
}

// noAnswer is the error for a response with status 200 but without anything that S3 must
// send. If it were accepted, the vault would seem empty.
func (s *Store) noAnswer(key string) error {
	return fmt.Errorf("listing %s: what answered is no S3: a proxy or a login page may be in between, or the endpoint is another server's", s.url(key))
}
