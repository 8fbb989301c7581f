package sagemakertest

import (
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

type tagsIn struct {
	ResourceArn string
	Tags        []types.Tag
	TagKeys     []string
}

func (r *request) tagged(arn string) (*job, error) {
	for _, j := range r.order {
		if j.arn == arn && j.region == r.region {
			return j, nil
		}
	}
	return nil, invalid("Requested resource not found.")
}

func (r *request) addTags(in *tagsIn) (any, error) {
	if err := addTagsShape.check(r.body); err != nil {
		return nil, err
	}
	j, err := r.tagged(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags := maps.Clone(j.tags)
	for _, t := range in.Tags {
		tags[*t.Key] = *t.Value
	}
	if len(tags) > 50 {
		return nil, fail("ResourceLimitExceeded", "a resource has at most 50 tags")
	}
	j.tags = tags
	return r.listTags(in)
}

func (r *request) deleteTags(in *tagsIn) (any, error) {
	j, err := r.tagged(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	for _, k := range in.TagKeys {
		delete(j.tags, k)
	}
	return nil, nil
}

// listTags returns all tags in one page: at most 50 are allowed, which fit in a
// page.
func (r *request) listTags(in *tagsIn) (any, error) {
	j, err := r.tagged(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	list := []map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(j.tags)) {
		list = append(list, map[string]string{"Key": k, "Value": j.tags[k]})
	}
	return map[string]any{"Tags": list}, nil
}
