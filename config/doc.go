// Package config is what an administrator can set: the daemon's own settings,
// which files are served, and the policy that says which containers get them.
//
// Nothing has to be set. Default is complete, Load reads strict YAML on top of
// it, and Validate checks the result again once the command line's flags have
// been applied. Whatever is wrong is reported at once, each fault with file,
// line, key and remedy, because a setting that is silently ignored costs more
// than a daemon that refuses to start.
//
// Policy.Decide is pure: it sees a container as its runtime describes it and
// answers whether the files are mounted, and why.
package config
