package iamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A Policy is a parsed policy.
type Policy struct {
	Version   string
	ID        string `json:"Id"`
	Statement []*statement
}

type statement struct {
	Sid, Effect      string
	Principal        *principals
	Action, Resource list
	Condition        map[string]map[string]list
}

// A list is one string or several: IAM accepts both.
type list []string

func (l *list) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte("[")) {
		return json.Unmarshal(b, (*[]string)(l))
	}
	*l = list{""}
	return json.Unmarshal(b, &(*l)[0])
}

type principals struct{ AWS, Service list }

func (p *principals) UnmarshalJSON(b []byte) error {
	if string(b) == `"*"` {
		p.AWS = list{"*"}
		return nil
	}
	type plain principals
	return strict(b, (*plain)(p))
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("there is something behind the policy")
	}
	return nil
}

// Parse reads a policy. Anything that this package does not know is an error.
func Parse(text string) (*Policy, error) {
	var p Policy
	if err := strict([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("iamtest does not understand the policy: %w", err)
	}
	if p.Version != "2012-10-17" || len(p.Statement) == 0 {
		return nil, fmt.Errorf("the policy has version %q and %d statements", p.Version, len(p.Statement))
	}
	sids := map[string]bool{}
	for _, s := range p.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || sids[s.Sid] {
			return nil, fmt.Errorf("the statement %q has effect %q, %d actions, or a Sid that is not unique", s.Sid, s.Effect, len(s.Action))
		}
		sids[s.Sid] = true
		for _, c := range s.Sid {
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", c) {
				return nil, fmt.Errorf("the Sid %q has more than letters and digits, which IAM refuses", s.Sid)
			}
		}
		for op, keys := range s.Condition {
			switch op {
			case "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "Bool", "Null":
			default:
				return nil, fmt.Errorf("iamtest does not know the condition operator %s", op)
			}
			for key, values := range keys {
				if len(values) == 0 {
					return nil, fmt.Errorf("the condition %s %s has no value", op, key)
				}
				for _, v := range values {
					if strings.Contains(v, "${") {
						return nil, fmt.Errorf("iamtest does not know policy variables: %s", v)
					}
				}
			}
		}
	}
	return &p, nil
}
