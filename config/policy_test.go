package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

const (
	bare            = "lxcfs.nri.io/inject"
	aliyun          = "lxcfs-admission-webhook.aliyun.com/mutate"
	mutating        = "mutating.lxcfs-admission-webhook.io/enable"
	reasonDefault   = "nothing excludes it (policy.inject is true)"
	reasonSelector  = `the pod's labels do not match "app=web" (policy.podSelector)`
	reasonKubeSys   = "namespace kube-system is excluded (policy.namespaces.exclude)"
	reasonHostPID   = "shares the host's PID namespace (policy.skipHostPID)"
	reasonNoInclude = "namespace default is not included (policy.namespaces.include)"
)

type annotations map[string]string

// pod is a target of namespace default with annotations on its pod.
func pod(on annotations) Target {
	return Target{Namespace: "default", Pod: "p", Container: "web", PodAnnotations: on}
}

// rules is each step of Decide, and which step goes before which.
var rules = []struct {
	name   string
	change func(*Policy)
	target Target
	inject bool
	reason string
}{
	{"default", nil, pod(nil), true, reasonDefault},
	{"nothing known", nil, Target{}, true, reasonDefault},
	{"inject off", func(p *Policy) { p.Inject = false }, pod(nil), false, "nothing asks for it (policy.inject is false)"},

	{"kata", nil, Target{RuntimeHandler: "kata-qemu"}, false, "runtime handler kata-qemu is skipped (policy.skipRuntimeHandlers: kata*)"},
	{"gvisor", nil, Target{RuntimeHandler: "gvisor"}, false, "runtime handler gvisor is skipped (policy.skipRuntimeHandlers: gvisor*)"},
	{"runc", nil, Target{RuntimeHandler: "runc"}, true, reasonDefault},
	{
		"kata, though annotated", nil,
		Target{RuntimeHandler: "kata", PodAnnotations: annotations{bare: "true"}},
		false,
		"runtime handler kata is skipped (policy.skipRuntimeHandlers: kata*)",
	},
	{"no handler skipped", func(p *Policy) { p.SkipRuntimeHandlers = nil }, Target{RuntimeHandler: "kata"}, true, reasonDefault},
	{"malformed pattern", func(p *Policy) { p.SkipRuntimeHandlers = []string{"kata["} }, Target{RuntimeHandler: "kata["}, true, reasonDefault},

	{"aliyun no", nil, pod(annotations{aliyun: "No"}), false, "annotation " + aliyun + "=no on the pod"},
	{"aliyun n", nil, pod(annotations{aliyun: "n"}), false, "annotation " + aliyun + "=n on the pod"},
	{"aliyun off", nil, pod(annotations{aliyun: " OFF "}), false, "annotation " + aliyun + "=off on the pod"},
	{"aliyun false", nil, pod(annotations{aliyun: "false"}), false, "annotation " + aliyun + "=false on the pod"},
	{"aliyun true", nil, pod(annotations{aliyun: "true"}), true, reasonDefault},
	{"aliyun empty", nil, pod(annotations{aliyun: ""}), true, reasonDefault},
	{"mutating false", nil, pod(annotations{mutating: "False"}), false, "annotation " + mutating + "=false on the pod"},
	{"mutating no", nil, pod(annotations{mutating: "no"}), false, "annotation " + mutating + "=no on the pod"},
	{
		"webhook's opt-out on the container", nil,
		Target{ContainerAnnotations: annotations{aliyun: "off"}},
		false, "annotation " + aliyun + "=off on the container",
	},
	{"webhooks not honoured", func(p *Policy) { p.WebhookAnnotations = false }, pod(annotations{aliyun: "no", mutating: "false"}), true, reasonDefault},
	{"ours wins over the webhooks'", nil, pod(annotations{aliyun: "no", bare: "true"}), true, "annotation " + bare + "=true on the pod"},
	{
		"webhooks' before PID namespace", nil,
		Target{HostPID: true, PodAnnotations: annotations{mutating: "false"}},
		false, "annotation " + mutating + "=false on the pod",
	},

	{"host PID", nil, Target{HostPID: true}, false, reasonHostPID},
	{"host PID allowed", func(p *Policy) { p.SkipHostPID = false }, Target{HostPID: true}, true, reasonDefault},
	{"host PID, though annotated", nil, Target{HostPID: true, PodAnnotations: annotations{bare: "true"}}, true, "annotation " + bare + "=true on the pod"},
	{"host PID before namespace", nil, Target{HostPID: true, Namespace: "kube-system"}, false, reasonHostPID},

	{"kube-system", nil, Target{Namespace: "kube-system"}, false, reasonKubeSys},
	{"kube-system, though annotated", nil, Target{Namespace: "kube-system", PodAnnotations: annotations{bare: "true"}}, true, "annotation " + bare + "=true on the pod"},
	{
		"namespace before labels", func(p *Policy) { p.PodSelector = "app=web" },
		Target{Namespace: "kube-system"},
		false, reasonKubeSys,
	},
}

func TestDecideRules(t *testing.T) {
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			p := Default().Policy
			if tt.change != nil {
				tt.change(&p)
			}
			want := Decision{Inject: tt.inject, Reason: tt.reason}
			if got := p.Decide(tt.target); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestDecideNamespaces(t *testing.T) {
	for _, tt := range []struct {
		name             string
		include, exclude []string
		namespace        string
		reason           string
	}{
		{"none set", nil, nil, "default", reasonDefault},
		{"included", []string{"default"}, nil, "default", reasonDefault},
		{"not included", []string{"prod"}, nil, "default", reasonNoInclude},
		{"included by pattern", []string{"prod", "def*"}, nil, "default", reasonDefault},
		{"excluded by pattern", nil, []string{"team-?"}, "team-a", "namespace team-a is excluded (policy.namespaces.exclude: team-?)"},
		{"exclude wins", []string{"kube-*"}, []string{"kube-system"}, "kube-system", reasonKubeSys},
		{"included beside the excluded", []string{"kube-*"}, []string{"kube-system"}, "kube-public", reasonDefault},

		{"no namespace", nil, []string{"kube-system"}, "", reasonDefault},
		{"no namespace, exclude *", nil, []string{"*"}, "", reasonDefault},
		{"no namespace, excluded", nil, []string{"a", ""}, "", "a container without a namespace is excluded (policy.namespaces.exclude)"},
		{"no namespace, include *", []string{"*"}, nil, "", "a container without a namespace is not included (policy.namespaces.include)"},
		{"no namespace, included", []string{"", "prod"}, nil, "", reasonDefault},
		{"a namespace beside the empty entry", []string{""}, nil, "default", reasonNoInclude},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{Inject: true, Namespaces: Namespaces{Include: tt.include, Exclude: tt.exclude}}
			want := Decision{Inject: tt.reason == reasonDefault, Reason: tt.reason}
			if got := p.Decide(Target{Namespace: tt.namespace}); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// A Policy that was never validated has no parsed selector.
func TestDecideSelector(t *testing.T) {
	web := Target{PodLabels: map[string]string{"app": "web"}}
	p := Policy{Inject: true, PodSelector: "app=web"}
	if got := p.Decide(web); got.Reason != reasonDefault {
		t.Errorf("app=web: %+v", got)
	}
	if got := p.Decide(Target{}); got.Inject || got.Reason != reasonSelector {
		t.Errorf("no labels: %+v", got)
	}
	p.PodSelector = "app in web"
	if got := p.Decide(web); got.Inject || got.Reason != "policy.podSelector is no label selector" {
		t.Errorf("malformed: %+v", got)
	}
}

func TestDecideAnnotations(t *testing.T) {
	const (
		slashContainer = "lxcfs.nri.io/inject/container.web"
		dotContainer   = "inject.lxcfs.nri.io/container.web"
		slashPod       = "lxcfs.nri.io/inject/pod"
		dotPod         = "inject.lxcfs.nri.io/pod"
	)
	// The most specific first: each decides over all that follow.
	places := []struct{ key, on string }{
		{slashContainer, "pod"}, {dotContainer, "pod"}, {bare, "container"}, {slashPod, "pod"}, {dotPod, "pod"}, {bare, "pod"},
	}
	target := func() Target {
		return Target{Container: "web", PodAnnotations: annotations{}, ContainerAnnotations: annotations{}}
	}
	set := func(t *Target, i int, value string) {
		if places[i].on == "container" {
			t.ContainerAnnotations[places[i].key] = value
		} else {
			t.PodAnnotations[places[i].key] = value
		}
	}
	spellings := []int{0, 3} // followed by the other spelling of the same
	for i, place := range places {
		for value, inject := range map[string]bool{"true": true, "false": false, " TRUE\n": true, "False": false} {
			p := Policy{Inject: !inject}
			target := target()
			set(&target, i, value)
			want := Decision{Inject: inject, Reason: "annotation " + place.key + "=" + strconv.FormatBool(inject) + " on the " + place.on}
			if got := p.Decide(target); !reflect.DeepEqual(got, want) {
				t.Errorf("%+v\ngot  %+v\nwant %+v", target, got, want)
			}
			for j := i + 1; j < len(places); j++ {
				if j == i+1 && slices.Contains(spellings, i) {
					continue
				}
				below := target
				set(&below, j, strconv.FormatBool(!inject))
				if got := p.Decide(below); !reflect.DeepEqual(got, want) {
					t.Errorf("%+v\ngot  %+v\nwant %+v", below, got, want)
				}
			}
		}
	}
	for _, i := range spellings {
		for value, other := range map[string]string{"true": "false", "false": "true"} {
			p := Policy{Inject: true}
			target := target()
			set(&target, i, value)
			set(&target, i+1, other)
			got := p.Decide(target)
			if got.Inject || !strings.Contains(got.Reason, "=false on the pod") {
				t.Errorf("%v: got %+v, want false to win", target, got)
			}
			want := []string{"annotation " + places[i+1].key + " on the pod contradicts its other spelling " + places[i].key + ", and false wins; remove one of the two"}
			if !slices.Equal(got.Warnings, want) {
				t.Errorf("got %q, want %q", got.Warnings, want)
			}
		}
	}
}

func TestDecideOtherContainer(t *testing.T) {
	p := Default().Policy
	target := pod(annotations{"lxcfs.nri.io/inject/container.db": "false", "inject.lxcfs.nri.io/container.": "false"})
	if got := p.Decide(target); got.Reason != reasonDefault {
		t.Errorf("got %+v", got)
	}
	target.Container = ""
	if got := p.Decide(target); got.Reason != reasonDefault {
		t.Errorf("container without a name: got %+v", got)
	}
}

// A value that is neither is warned of, and decides nothing.
func TestDecideWarnings(t *testing.T) {
	p := Default().Policy
	for _, tt := range []struct {
		on       annotations
		reason   string
		warnings []string
	}{
		{
			annotations{bare: "yes"},
			reasonDefault,
			[]string{"annotation " + bare + ` on the pod is ignored: got "yes"; write true or false`},
		},
		{
			annotations{bare: ""},
			reasonDefault,
			[]string{"annotation " + bare + ` on the pod is ignored: got ""; write true or false`},
		},
		{
			annotations{bare + "/pod": "1", bare: "false"},
			"annotation " + bare + "=false on the pod",
			[]string{"annotation " + bare + `/pod on the pod is ignored: got "1"; write true or false`},
		},
		{
			annotations{bare: "true\nlevel=ERROR " + strings.Repeat("x", 1<<18)},
			reasonDefault,
			[]string{"annotation " + bare + ` on the pod is ignored: got "true\nlevel=ERROR ` + strings.Repeat("x", 47) + `…"; write true or false`},
		},
	} {
		want := Decision{Inject: tt.reason == reasonDefault, Reason: tt.reason, Warnings: tt.warnings}
		if got := p.Decide(pod(tt.on)); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// TestDecideOnCRIO: whatever is on pod and container, and how, CRI-O's copies of the
// pod's annotations among the container's change nothing.
func TestDecideOnCRIO(t *testing.T) {
	p := Default().Policy
	keys := []string{"lxcfs.nri.io/inject/container.web", bare, "lxcfs.nri.io/inject/pod", aliyun, mutating}
	values := []string{"", "true", "false"} // "": absent
	pow := func(n int) (all int) {
		for all = 1; n > 0; n-- {
			all *= len(values)
		}
		return all
	}
	pick := func(n int, keys []string) annotations {
		a := annotations{}
		for _, key := range keys {
			if value := values[n%len(values)]; value != "" {
				a[key] = value
			}
			n /= len(values)
		}
		return a
	}
	onContainer := []string{bare, aliyun}
	for n := range pow(len(keys)) {
		for m := range pow(len(onContainer)) {
			onPod, own := pick(n, keys), pick(m, onContainer)
			target := Target{Namespace: "shop", Container: "web", PodAnnotations: onPod, ContainerAnnotations: own}
			want := p.Decide(target)
			target.ContainerAnnotations = fixture.CRIO(t, onPod, own)
			if got := p.Decide(target); !reflect.DeepEqual(got, want) {
				t.Fatalf("pod %v, container %v: got %+v, want %+v", onPod, own, got, want)
			}
		}
	}
	for _, c := range []struct {
		pod, container annotations
		inject         bool
		reason         string
	}{
		{annotations{bare: "false", bare + "/pod": "true"}, nil, true, "annotation " + bare + "/pod=true on the pod"},
		{annotations{bare: "true", bare + "/pod": "false"}, nil, false, "annotation " + bare + "/pod=false on the pod"},
		{annotations{bare + "/pod": "true"}, annotations{bare: "false"}, false, "annotation " + bare + "=false on the container"},
		{annotations{bare: "true", bare + "/pod": "true"}, annotations{bare: "false"}, false, "annotation " + bare + "=false on the container"},
		{annotations{bare: "false"}, nil, false, "annotation " + bare + "=false on the pod"},
		{annotations{aliyun: "no"}, nil, false, "annotation " + aliyun + "=no on the pod"},
		{annotations{aliyun: "yes"}, annotations{aliyun: "no"}, false, "annotation " + aliyun + "=no on the container"},
	} {
		want := Decision{Inject: c.inject, Reason: c.reason}
		got := p.Decide(Target{Container: "web", PodAnnotations: c.pod, ContainerAnnotations: fixture.CRIO(t, c.pod, c.container)})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("pod %v, container %v: got %+v, want %+v", c.pod, c.container, got, want)
		}
	}
}

// Names come from a runtime: they can't forge lines of a log.
func TestDecideQuotes(t *testing.T) {
	p := Policy{SkipRuntimeHandlers: []string{"kata*"}, Namespaces: Namespaces{Exclude: []string{"*"}}}
	for _, target := range []Target{
		{RuntimeHandler: "kata\n\x1b[31m"},
		{Namespace: strings.Repeat("a", 1<<16)},
		{Container: "a\nb", PodAnnotations: annotations{bare + "/container.a\nb": "\n\n"}},
	} {
		d := p.Decide(target)
		for _, text := range append(d.Warnings, d.Reason) {
			if strings.ContainsAny(text, "\n\x1b") || len(text) > 400 {
				t.Errorf("%.400q", text)
			}
		}
	}
}
