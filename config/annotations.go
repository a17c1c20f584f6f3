package config

import (
	"fmt"
	"maps"
	"strings"
)

// Our annotation. NRI plugins append what it applies to as another path
// element (lxcfs.nri.io/inject/container.web); the Kubernetes API server
// allows one slash in a key only, so the same is accepted in front of it
// (inject.lxcfs.nri.io/container.web). There, what follows the slash may have
// 63 bytes, which leaves 53 for the name of a container.
const (
	injectKey    = "lxcfs.nri.io/inject"
	injectPrefix = "inject.lxcfs.nri.io/"
)

// webhookOptOuts are the annotations of the admission webhooks that did this job
// before, and webhookNo the values they took for no.
var (
	webhookOptOuts = []string{"lxcfs-admission-webhook.aliyun.com/mutate", "mutating.lxcfs-admission-webhook.io/enable"}
	webhookNo      = []string{"no", "n", "off", "false"}
)

// ownAnnotations returns the annotations of a container that are not its pod's. CRI-O
// copies a pod's annotations into those of its containers (SpecAddAnnotations in its
// internal/factory/container): the ones that the pod has with the same value are the pod's.
func ownAnnotations(t *Target) map[string]string {
	own := maps.Clone(t.ContainerAnnotations)
	maps.DeleteFunc(own, func(key, value string) bool {
		of, ok := t.PodAnnotations[key]
		return ok && of == value
	})
	return own
}

// annotation is a place where one may stand.
type annotation struct {
	key string
	in  map[string]string
	on  string // "pod" or "container"
}

// ranks lists where our annotation may stand, the most specific first; those
// of one rank are two spellings of the same.
func ranks(t Target) [][]annotation {
	of := func(what string) []annotation {
		return []annotation{
			{injectKey + "/" + what, t.PodAnnotations, "pod"},
			{injectPrefix + what, t.PodAnnotations, "pod"},
		}
	}
	var all [][]annotation
	if t.Container != "" {
		all = append(all, of("container."+t.Container))
	}
	return append(all,
		[]annotation{{injectKey, t.ContainerAnnotations, "container"}},
		of("pod"),
		[]annotation{{injectKey, t.PodAnnotations, "pod"}},
	)
}

// annotated decides by our annotations. Without a decision, the warnings of
// its answer still hold.
func annotated(t Target) (d Decision, decided bool) {
	for _, rank := range ranks(t) {
		for _, a := range rank {
			value, ok := a.in[a.key]
			if !ok {
				continue
			}
			inject, ok := parseInject(value)
			if !ok {
				d.Warnings = append(d.Warnings, fmt.Sprintf("annotation %s on the %s is ignored: got %s; write true or false", show(a.key), a.on, quote(value)))
				continue
			}
			if decided && inject != d.Inject {
				d.Warnings = append(d.Warnings, fmt.Sprintf("annotation %s on the %s contradicts its other spelling %s, and false wins; remove one of the two", show(a.key), a.on, show(rank[0].key)))
			}
			// To leave a container alone can't hurt it.
			if !decided || d.Inject && !inject {
				d.Inject = inject
				d.Reason = fmt.Sprintf("annotation %s=%t on the %s", show(a.key), inject, a.on)
			}
			decided = true
		}
		if decided {
			return d, true
		}
	}
	return d, false
}

// parseInject reads true or false. More is not guessed at: "yes" on a pod that
// then goes without is worse than a warning.
func parseInject(value string) (inject, ok bool) {
	switch value = strings.TrimSpace(value); {
	case strings.EqualFold(value, "true"):
		return true, true
	case strings.EqualFold(value, "false"):
		return false, true
	}
	return false, false
}

// webhookOptOut is the reason if a former webhook was told to leave the
// container alone, or "".
func webhookOptOut(t Target) string {
	for _, key := range webhookOptOuts {
		for _, a := range []annotation{{key, t.ContainerAnnotations, "container"}, {key, t.PodAnnotations, "pod"}} {
			value := strings.TrimSpace(a.in[a.key])
			for _, no := range webhookNo {
				if strings.EqualFold(value, no) {
					return fmt.Sprintf("annotation %s=%s on the %s", key, no, a.on)
				}
			}
		}
	}
	return ""
}
