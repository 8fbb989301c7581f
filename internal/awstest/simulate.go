package awstest

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/vaultpack/vaultpack/internal/iamtest"
)

// simulate decides requests by a role's own policies, as IAM's simulator does: policies
// of resources are not considered. All other policies allow everything.
func (s *Server) simulate(form url.Values) (string, error) {
	arn := form.Get("PolicySourceArn")
	var role *Role
	for _, r := range s.roles {
		if r.ARN == arn {
			role = r
		}
	}
	if role == nil {
		return "", fail(404, "NoSuchEntity", "The role with name %s cannot be found.", arn[strings.LastIndex(arn, "/")+1:])
	}
	w := &iamtest.World{Account: Account, Identities: map[string][]*iamtest.Policy{}, Resources: map[string]*iamtest.Policy{}}
	for _, text := range role.Policies {
		p, err := iamtest.Parse(text)
		if err != nil {
			return "", fail(400, "PolicyEvaluation", "%v", err)
		}
		w.Identities[arn] = append(w.Identities[arn], p)
	}
	open, err := iamtest.Parse(`{"Version":"2012-10-17","Statement":[{"Sid":"Account","Effect":"Allow","Principal":{"AWS":"` + s.IAM("root") + `"},"Action":"kms:*","Resource":"*"}]}`)
	if err != nil {
		return "", err
	}
	members := func(name string) (all []string) {
		for i := 1; form.Has(fmt.Sprintf("%s.member.%d", name, i)); i++ {
			all = append(all, form.Get(fmt.Sprintf("%s.member.%d", name, i)))
		}
		return all
	}
	context := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("ContextEntries.member.%d.ContextKeyName", i)); i++ {
		at := fmt.Sprintf("ContextEntries.member.%d.", i)
		context[form.Get(at+"ContextKeyName")] = form.Get(at + "ContextKeyValues.member.1")
	}
	var b strings.Builder
	b.WriteString("<IsTruncated>false</IsTruncated><EvaluationResults>")
	for _, action := range members("ActionNames") {
		for _, resource := range members("ResourceArns") {
			if strings.HasPrefix(action, "kms:") {
				w.Resources[resource] = open
			}
			decision := "implicitDeny"
			if ok, _ := w.Decide(iamtest.Request{Principal: arn, Action: action, Resource: resource, Context: context}); ok {
				decision = "allowed"
			}
			fmt.Fprintf(&b, "<member><EvalActionName>%s</EvalActionName><EvalResourceName>%s</EvalResourceName><EvalDecision>%s</EvalDecision></member>", action, resource, decision)
		}
	}
	return b.String() + "</EvaluationResults>", nil
}
