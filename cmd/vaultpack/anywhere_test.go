package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/internal/race"
)

const anywhere = "../../examples/anywhere"

// apiTypes are the fields of types of Kubernetes (batch/v1, core/v1), of JobSet
// (v1alpha2) and of Kubeflow Trainer (v1alpha1), as in their API references: a name,
// with ! if it is required, and with the type of what it holds if that is checked too;
// [] is a list.
var apiTypes = map[string]string{
	"Job":              "apiVersion! kind! metadata! spec!:JobSpec",
	"CronJob":          "apiVersion! kind! metadata! spec!:CronJobSpec",
	"CronJobSpec":      "concurrencyPolicy failedJobsHistoryLimit jobTemplate!:JobTemplate schedule! startingDeadlineSeconds successfulJobsHistoryLimit suspend timeZone",
	"JobSpec":          "activeDeadlineSeconds backoffLimit backoffLimitPerIndex completionMode completions maxFailedIndexes parallelism podFailurePolicy:PodFailurePolicy suspend template!:PodTemplate ttlSecondsAfterFinished",
	"PodTemplate":      "metadata spec!:PodSpec",
	"PodSpec":          "activeDeadlineSeconds affinity automountServiceAccountToken containers!:[]Container hostIPC hostNetwork imagePullSecrets initContainers:[]Container nodeSelector priorityClassName restartPolicy runtimeClassName schedulerName securityContext:PodSecurity serviceAccountName shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes:[]Volume",
	"Container":        "args command env:[]Env envFrom image imagePullPolicy name! ports resources:Resources securityContext volumeMounts:[]Mount workingDir",
	"Env":              "name! value valueFrom",
	"Resources":        "claims limits requests",
	"Mount":            "mountPath! mountPropagation name! readOnly recursiveReadOnly subPath subPathExpr",
	"Volume":           "configMap csi emptyDir:EmptyDir ephemeral hostPath name! nfs persistentVolumeClaim projected secret",
	"EmptyDir":         "medium sizeLimit",
	"PodSecurity":      "fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seccompProfile supplementalGroups sysctls",
	"PodFailurePolicy": "rules!:[]FailureRule",
	"FailureRule":      "action! onExitCodes:ExitCodes onPodConditions:[]PodCondition",
	"ExitCodes":        "containerName operator! values!",
	"PodCondition":     "type! status!",
	"TrainingRuntime":  "apiVersion! kind! metadata! spec!:RuntimeSpec",
	"RuntimeSpec":      "mlPolicy:MLPolicy podGroupPolicy template:JobSetTemplate",
	"MLPolicy":         "mpi numNodes torch",
	"JobSetTemplate":   "metadata spec:JobSetSpec",
	"JobSetSpec":       "coordinator failurePolicy managedBy network replicatedJobs:[]ReplicatedJob startupPolicy successPolicy suspend ttlSecondsAfterFinished",
	"ReplicatedJob":    "dependsOn groupName name! replicas template!:JobTemplate",
	"JobTemplate":      "metadata spec!:JobSpec",
	"TrainJob":         "apiVersion! kind! metadata! spec!:TrainJobSpec",
	"TrainJobSpec":     "initializer managedBy runtimeRef!:RuntimeRef suspend trainer:Trainer",
	"RuntimeRef":       "apiGroup kind name!",
	"Trainer":          "args command env:[]Env image numNodes numProcPerNode resourcesPerNode:Resources",
}

// checkFields compares what a manifest has at a path with a type.
func checkFields(t *testing.T, at, typ string, v any) {
	t.Helper()
	if elem, list := strings.CutPrefix(typ, "[]"); list {
		items, ok := v.([]any)
		if !ok {
			t.Errorf("%s is no list", at)
		}
		for i, item := range items {
			checkFields(t, fmt.Sprintf("%s[%d]", at, i), elem, item)
		}
		return
	}
	fields, ok := v.(map[string]any)
	known, typed := apiTypes[typ]
	if !ok || !typed {
		t.Fatalf("%s is %v, and no %s", at, v, typ)
	}
	left := map[string]bool{}
	for name := range fields {
		left[name] = true
	}
	for _, f := range strings.Fields(known) {
		name, of, _ := strings.Cut(f, ":")
		name, required := strings.CutSuffix(name, "!")
		if required && !left[name] {
			t.Errorf("%s.%s is missing", at, name)
		}
		if left[name] && of != "" {
			checkFields(t, at+"."+name, of, fields[name])
		}
		delete(left, name)
	}
	for name := range left {
		t.Errorf("%s.%s: %s has no such field", at, name, typ)
	}
}

// A podSpec is what of a pod the examples depend on.
type podSpec struct {
	RestartPolicy              string
	SecurityContext            struct{ RunAsUser, FsGroup int }
	Volumes                    []podVolume
	InitContainers, Containers []podContainer
}

type podVolume struct {
	Name     string
	EmptyDir struct{ Medium, SizeLimit string }
}

type podContainer struct {
	Name, Image   string
	Args, Command []string
	Env           []struct{ Name, Value string }
	Resources     struct{ Limits map[string]any }
	VolumeMounts  []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

// manifests are the objects of a file, and the pods in them.
func manifests(t *testing.T, file string) (kinds []string, pods []podSpec) {
	t.Helper()
	f, err := os.Open(filepath.Join(anywhere, file))
	check(t, err)
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var n yaml.Node
		err := d.Decode(&n)
		if err == io.EOF {
			return kinds, pods
		}
		check(t, err)
		var v map[string]any
		check(t, n.Decode(&v))
		kind, _ := v["kind"].(string)
		kinds = append(kinds, fmt.Sprint(v["apiVersion"], " ", kind))
		checkFields(t, file+": "+kind, kind, v)
		var pod struct {
			Spec struct {
				Template struct {
					Spec struct {
						podSpec        `yaml:",inline"`
						ReplicatedJobs []struct {
							Template struct {
								Spec struct{ Template struct{ Spec podSpec } }
							}
						} `yaml:"replicatedJobs"`
					}
				}
			}
		}
		check(t, lowered(&n).Decode(&pod))
		if s := pod.Spec.Template.Spec; len(s.Containers) > 0 {
			pods = append(pods, s.podSpec)
		} else if len(s.ReplicatedJobs) > 0 {
			for _, j := range s.ReplicatedJobs {
				pods = append(pods, j.Template.Spec.Template.Spec)
			}
		}
	}
}

// lowered writes the names of fields as package yaml expects those of a struct. JobSet's
// replicatedJobs has a name of its own above.
func lowered(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if k := n.Content[i]; k.Value != "replicatedJobs" {
				k.Value = strings.ToLower(k.Value)
			}
		}
	}
	for _, c := range n.Content {
		lowered(c)
	}
	return n
}

// The manifests have fields that their APIs have; what opens the data runs as it is
// written; and the training finds the data where it looks, read-only and in memory.
func TestAnywhereManifests(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	write(t, filepath.Join(p.home, "scans", "a"), []byte("a"))
	p.run(exitDone, "push", "-q", "./scans")
	for file, want := range map[string][]string{
		"kubernetes-job.yaml":    {"batch/v1 Job"},
		"kubeflow-trainjob.yaml": {"trainer.kubeflow.org/v1alpha1 TrainingRuntime", "trainer.kubeflow.org/v1alpha1 TrainJob"},
	} {
		kinds, pods := manifests(t, file)
		if !slices.Equal(kinds, want) || len(pods) != 1 {
			t.Fatalf("%s has %q with %d pods", file, kinds, len(pods))
		}
		pod := pods[0]
		if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 || len(pod.Volumes) != 1 {
			t.Fatalf("%s: %+v", file, pod)
		}
		init, train, volume := pod.InitContainers[0], pod.Containers[0], pod.Volumes[0]
		if volume.EmptyDir.Medium != "Memory" || len(init.VolumeMounts) != 1 || len(train.VolumeMounts) != 1 {
			t.Fatalf("%s: the data is not in memory, or has several places: %+v", file, pod)
		}
		if pod.SecurityContext.RunAsUser == 0 || pod.SecurityContext.FsGroup == 0 {
			t.Errorf("%s: the folder that open makes is for its user alone, so both containers need one user: %+v", file, pod.SecurityContext)
		}
		mount := init.VolumeMounts[0]
		if got := train.VolumeMounts[0]; mount.Name != volume.Name || got.Name != mount.Name || got.MountPath != mount.MountPath || !got.ReadOnly {
			t.Errorf("%s: data at %+v, looked for at %+v", file, mount, got)
		}
		if limit := fmt.Sprint(init.Resources.Limits["memory"]); gib(t, limit) <= gib(t, volume.EmptyDir.SizeLimit) {
			t.Errorf("%s: the memory limit %s leaves nothing beside the data", file, limit)
		}
		dir := init.Args[len(init.Args)-1]
		if !strings.HasPrefix(dir, mount.MountPath+"/") {
			t.Errorf("%s: the data is opened in %s, outside of %s", file, dir, mount.MountPath)
		}
		for _, e := range init.Env {
			if !slices.Contains([]string{"VAULTPACK_VAULT", "VAULTPACK_KMS_KEY", "VAULTPACK_HOME"}, e.Name) {
				t.Errorf("%s: %s is no setting", file, e.Name)
			}
		}
		root := filepath.Join(t.TempDir(), "mount")
		out, _ := p.run(exitDone, "versions", "scans", "--json")
		_, digest, _ := strings.Cut(out, `"digest":"`)
		args := slices.Clone(init.Args)
		for i, a := range args {
			args[i] = strings.NewReplacer("@3#DIGEST", "#"+digest[:64], mount.MountPath+"/", root+"/").Replace(a)
		}
		p.run(exitDone, args...)
		if b, err := os.ReadFile(strings.Replace(dir, mount.MountPath, root, 1) + "/a"); string(b) != "a" {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// gib is a quantity such as 24Gi.
func gib(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(s, "%dGi", &n); err != nil {
		t.Errorf("%q: %v", s, err)
	}
	return n
}

// The page links to all of the examples.
func TestAnywherePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/TRAINING-ANYWHERE.md")
	check(t, err)
	files, err := os.ReadDir(anywhere)
	check(t, err)
	for _, f := range files {
		if !strings.Contains(string(page), "](../examples/anywhere/"+f.Name()+")") {
			t.Errorf("docs/TRAINING-ANYWHERE.md does not link to %s", f.Name())
		}
	}
}
