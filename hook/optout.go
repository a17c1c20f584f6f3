package hook

import (
	"cmp"
	"slices"
	"strings"
)

// annotated gives the annotation by which a container wants its files, or to be
// left alone; "" where none does. It is what the policy (package config, which is
// too large for a hook) makes of annotations, for containers that the daemon
// can't be asked about. The most specific one counts.
func annotated(annotations map[string]string) (key string, inject bool) {
	ranks := [][]string{
		{"lxcfs.nri.io/inject"},
		{"lxcfs.nri.io/inject/pod", "inject.lxcfs.nri.io/pod"},
	}
	if name := annotations[AnnotationContainer]; name != "" {
		ranks = slices.Insert(ranks, 0, []string{"lxcfs.nri.io/inject/container." + name, "inject.lxcfs.nri.io/container." + name})
	}
	for _, rank := range ranks {
		for _, name := range rank {
			switch value := strings.TrimSpace(annotations[name]); {
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
		value := strings.TrimSpace(annotations[key])
		if slices.ContainsFunc(webhookNo, func(no string) bool { return strings.EqualFold(value, no) }) {
			return key, false
		}
	}
	return "", false
}

// webhooks are the opt-outs of the former admission webhooks, and webhookNo the
// values they took for no (package config).
var (
	webhooks  = []string{"lxcfs-admission-webhook.aliyun.com/mutate", "mutating.lxcfs-admission-webhook.io/enable"}
	webhookNo = []string{"no", "n", "off", "false"}
)
