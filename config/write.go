package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
)

// A Change holds settings to be written to a configuration file.
type Change struct {
	Vault   string
	KMSKeys []string
	Region  string // of the section s3
	SSE     string // also of the section s3; empty leaves it unchanged
	// SigningKey is the key that signs versions; empty leaves it unchanged.
	SigningKey string
	// Provision is the section provision, any value that yaml can marshal; nil
	// leaves it unchanged.
	Provision any
}

// ErrOtherVault is returned by Write for a file that configures another vault.
var ErrOtherVault = errors.New("the file is about another vault")

// Write creates the file, or changes these settings in it and keeps everything
// else, including comments. If the file already has these settings, it is not
// written.
func Write(file string, change Change) (written bool, err error) {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // change the file, not the link to it
	}
	old, err := os.ReadFile(file)
	mode := fs.FileMode(0o644)
	if err == nil {
		info, err := os.Stat(file)
		if err != nil {
			return false, err
		}
		mode = info.Mode().Perm()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("reading the configuration: %w", err)
	}
	text, err := change.apply(old)
	if err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	if text == nil {
		return false, nil
	}
	err = atomicfile.Replace(file, mode, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("writing the configuration: %w", err)
	}
	return true, nil
}

// Text returns the text of a file with only these settings.
func (c Change) Text() (string, error) {
	b, err := c.apply(nil)
	return string(b), err
}

// apply returns the new text, or nil if the old one says the same.
func (c Change) apply(old []byte) ([]byte, error) {
	doc, root, err := parseSettings(old)
	if err != nil {
		return nil, err
	}
	if v := lookup(root, "vault"); v != nil && strings.TrimSuffix(v.Value, "/") != strings.TrimSuffix(c.Vault, "/") {
		return nil, fmt.Errorf("%w (%s)", ErrOtherVault, v.Value)
	}
	changed := false
	set := func(in *yaml.Node, key string, value any) error {
		was, err := setNode(in, key, value)
		changed = changed || was
		return err
	}
	if lookup(root, "vault") == nil {
		if err := set(root, "vault", c.Vault); err != nil {
			return nil, err
		}
	}
	if len(c.KMSKeys) > 0 && !firstIs(lookup(root, "kms_keys"), c.KMSKeys[0]) {
		if err := set(root, "kms_keys", c.KMSKeys); err != nil {
			return nil, err
		}
	}
	if is := lookup(root, "signing_key"); c.SigningKey != "" && (is == nil || is.Value != c.SigningKey) {
		if err := set(root, "signing_key", c.SigningKey); err != nil {
			return nil, err
		}
	}
	if err := c.applyS3(root, set); err != nil {
		return nil, err
	}
	if c.Provision != nil {
		if err := set(root, "provision", c.Provision); err != nil {
			return nil, err
		}
	}
	if !changed {
		return nil, nil
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// applyS3 sets what belongs in the section s3.
func (c Change) applyS3(root *yaml.Node, set func(in *yaml.Node, key string, value any) error) error {
	for _, of := range []struct{ name, value string }{{"region", c.Region}, {"sse", c.SSE}} {
		if of.value == "" {
			continue
		}
		section := lookup(root, "s3")
		if section == nil || section.Kind != yaml.MappingNode {
			section = &yaml.Node{Kind: yaml.MappingNode}
		}
		if is := lookup(section, of.name); is == nil || is.Value != of.value {
			if err := set(section, of.name, of.value); err != nil {
				return err
			}
			if err := set(root, "s3", section); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseSettings returns a file as a document, and the list of settings in it.
func parseSettings(old []byte) (doc, root *yaml.Node, err error) {
	doc = &yaml.Node{}
	if err := yaml.Unmarshal(old, doc); err != nil {
		return nil, nil, err
	}
	if len(doc.Content) == 0 { // nothing, or only comments
		root = &yaml.Node{Kind: yaml.MappingNode, HeadComment: strings.TrimSpace(string(old))}
		return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}, root, nil
	}
	root = doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		*root = yaml.Node{Kind: yaml.MappingNode, HeadComment: root.HeadComment}
	}
	if root.Kind != yaml.MappingNode {
		return nil, nil, errors.New("the file is not a list of settings")
	}
	return doc, root, nil
}

// firstIs reports whether the list begins with the value. Further keys may follow.
func firstIs(list *yaml.Node, value string) bool {
	return list != nil && len(list.Content) > 0 && list.Content[0].Value == value
}

func lookup(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// setNode sets a key of a mapping, and reports whether the value has changed. The
// comments at the old one stay.
func setNode(mapping *yaml.Node, key string, value any) (changed bool, err error) {
	next, ok := value.(*yaml.Node)
	if !ok {
		next = &yaml.Node{}
		if err := next.Encode(value); err != nil {
			return false, err
		}
	}
	old := lookup(mapping, key)
	if old == nil {
		mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, next)
		return true, nil
	}
	if old == next {
		return true, nil
	}
	if sameNode(old, next) {
		return false, nil
	}
	if next.Kind == yaml.MappingNode && old.Kind == yaml.MappingNode {
		return true, mergeNode(old, next)
	}
	next.HeadComment, next.LineComment, next.FootComment = old.HeadComment, old.LineComment, old.FootComment
	*old = *next
	return true, nil
}

// mergeNode makes the mapping old say what next does, and keeps its comments.
func mergeNode(old, next *yaml.Node) error {
	for i := 0; i+1 < len(old.Content); {
		if lookup(next, old.Content[i].Value) == nil {
			old.Content = slices.Delete(old.Content, i, i+2)
			continue
		}
		i += 2
	}
	for i := 0; i+1 < len(next.Content); i += 2 {
		if _, err := setNode(old, next.Content[i].Value, next.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// sameNode compares what two nodes say.
func sameNode(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(a.Content); i += 2 {
			other := lookup(b, a.Content[i].Value)
			if other == nil || !sameNode(a.Content[i+1], other) {
				return false
			}
		}
		return true
	}
	for i := range a.Content {
		if !sameNode(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
