package hook

import (
	"cmp"
	"slices"
	"strings"
)

// annotated returns the annotation by which a container wants its files, or to be
// left alone; "" if it has none. It is what the policy (package config, which is
// too large for a hook) makes of annotations, for containers that the daemon
// can't be asked about. The most specific one counts.
func annotated(annotations map[string]string) (key string, inject bool) {
	pod, own := Split(annotations)
	for _, rank := range ranks(annotations[AnnotationContainer], pod, own) {
		for _, name := range rank.keys {
			switch value := strings.TrimSpace(rank.in[name]); {
			case strings.EqualFold(value, "false"):
				return name, false
			case strings.EqualFold(value, "true"):
				key = cmp.Or(key, name)
			}
		}
		if key != "" {
			return key, true
		}
	}
	for _, key := range webhooks {
		for _, in := range []map[string]string{own, pod} {
			value := strings.TrimSpace(in[key])
			if slices.ContainsFunc(webhookNo, func(no string) bool { return strings.EqualFold(value, no) }) {
				return key, false
			}
		}
	}
	return "", false
}

// rank is where annotations of one rank are looked for.
type rank struct {
	in   map[string]string
	keys []string
}

// ranks lists the places of our annotation, the most specific first.
func ranks(container string, pod, own map[string]string) []rank {
	all := []rank{
		{own, []string{"lxcfs.nri.io/inject"}},
		{pod, []string{"lxcfs.nri.io/inject/pod", "inject.lxcfs.nri.io/pod"}},
		{pod, []string{"lxcfs.nri.io/inject"}},
	}
	if container != "" {
		all = slices.Insert(all, 0, rank{pod, []string{"lxcfs.nri.io/inject/container." + container, "inject.lxcfs.nri.io/container." + container}})
	}
	return all
}

// webhooks are the opt-outs of the former admission webhooks, and webhookNo the
// values they took for no (package config).
var (
	webhooks  = []string{"lxcfs-admission-webhook.aliyun.com/mutate", "mutating.lxcfs-admission-webhook.io/enable"}
	webhookNo = []string{"no", "n", "off", "false"}
)
