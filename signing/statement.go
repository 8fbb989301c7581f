package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
)

// StatementPayload is the DSSE payload type of in-toto statements.
const StatementPayload = "application/vnd.in-toto+json"

const statementType = "https://in-toto.io/Statement/v1"

// A Subject is something that a statement is about.
type Subject struct {
	Name string `json:"name"`
	// Digest has lowercase hex by the name of the algorithm: "sha256" for one.
	Digest map[string]string `json:"digest"`
}

// A Statement is an in-toto statement, version 1.
type Statement struct {
	Subject       []Subject
	PredicateType string
	Predicate     json.RawMessage
}

type statementJSON struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// SignStatement makes a signed envelope of the statement.
func SignStatement(ctx context.Context, s Signer, st *Statement) ([]byte, error) {
	b, err := json.Marshal(statementJSON{statementType, st.Subject, st.PredicateType, st.Predicate})
	if err != nil {
		return nil, err
	}
	return Sign(ctx, s, StatementPayload, b)
}

// OpenStatement gives the statement of an envelope that the key has signed.
func OpenStatement(b []byte, predicateType string, key PublicKey) (*Statement, error) {
	payload, err := Open(b, StatementPayload, key)
	if err != nil {
		return nil, err
	}
	var j statementJSON
	if err := decodeStrict(payload, &j); err != nil {
		return nil, err
	}
	if j.Type != statementType || j.PredicateType != predicateType || len(j.Subject) == 0 {
		return nil, fmt.Errorf("a statement of type %q: %w", j.PredicateType, envelope.ErrAuthentication)
	}
	return &Statement{j.Subject, j.PredicateType, j.Predicate}, nil
}

// decodeStrict reads one JSON object that v knows every field of, in the encoding in
// which v is written.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return envelope.ErrAuthentication
	}
	again, err := json.Marshal(v)
	if err != nil || !bytes.Equal(again, b) {
		return envelope.ErrAuthentication
	}
	return nil
}
