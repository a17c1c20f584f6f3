package config

import (
	"slices"
	"strings"
)

// setting is one key of the file.
type setting struct {
	key   string            // dotted: section.name
	at    func(*Config) any // *string, *bool or *[]string
	oneOf []string          // the only values allowed; nil: any of the type
}

// settings is every key there is: the decoder, the checks, the suggestions for
// unknown keys and the test of the sample file range over it.
var settings = []setting{
	{key: "mountpoint", at: func(c *Config) any { return &c.Mountpoint }},
	{key: "runDir", at: func(c *Config) any { return &c.RunDir }},
	{key: "selinuxContext", at: func(c *Config) any { return &c.SELinuxContext }},
	{key: "nri.socket", at: func(c *Config) any { return &c.NRI.Socket }},
	{key: "nri.pluginName", at: func(c *Config) any { return &c.NRI.PluginName }},
	{key: "nri.pluginIndex", at: func(c *Config) any { return &c.NRI.PluginIndex }},
	{
		key: "log.level", at: func(c *Config) any { return &c.Log.Level },
		oneOf: []string{"debug", "info", "warn", "error"},
	},
	{
		key: "log.format", at: func(c *Config) any { return &c.Log.Format },
		oneOf: []string{"text", "json"},
	},
	{key: "swap", at: func(c *Config) any { return &c.Swap }},
	{
		key: "stat.throttled", at: func(c *Config) any { return &c.Stat.Throttled },
		oneOf: []string{ThrottledSteal, ThrottledHide},
	},
	{key: "attachExisting", at: func(c *Config) any { return &c.AttachExisting }},
	{key: "required", at: func(c *Config) any { return &c.Required }},
	{key: "files.include", at: func(c *Config) any { return &c.Files.Include }},
	{key: "files.exclude", at: func(c *Config) any { return &c.Files.Exclude }},
	{key: "policy.inject", at: func(c *Config) any { return &c.Policy.Inject }},
	{key: "policy.namespaces.include", at: func(c *Config) any { return &c.Policy.Namespaces.Include }},
	{key: "policy.namespaces.exclude", at: func(c *Config) any { return &c.Policy.Namespaces.Exclude }},
	{key: "policy.podSelector", at: func(c *Config) any { return &c.Policy.PodSelector }},
	{key: "policy.skipRuntimeHandlers", at: func(c *Config) any { return &c.Policy.SkipRuntimeHandlers }},
	{key: "policy.skipHostPID", at: func(c *Config) any { return &c.Policy.SkipHostPID }},
	{key: "policy.webhookAnnotations", at: func(c *Config) any { return &c.Policy.WebhookAnnotations }},
}

// lookup finds the setting of a dotted key.
func lookup(key string) (setting, bool) {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return setting{}, false
	}
	return settings[i], true
}

// isSection reports whether settings stand below a dotted key; "" is the file.
func isSection(key string) bool {
	return len(names(key)) > 0
}

// names lists, sorted, what may stand directly in a section.
func names(section string) []string {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	var all []string
	for _, s := range settings {
		if rest, ok := strings.CutPrefix(s.key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// elsewhere lists the dotted keys that end in name: a key that is right but
// for its indentation, which is the slip YAML makes easiest.
func elsewhere(name string) []string {
	var all []string
	for _, s := range settings {
		section := s.key
		for section != "" {
			i := strings.LastIndexByte(section, '.')
			if section[i+1:] == name && !slices.Contains(all, section) {
				all = append(all, section)
			}
			section = section[:max(i, 0)]
		}
	}
	return all
}
