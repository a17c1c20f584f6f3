package hook

// For the test that they are those of the packages which are too large to import.
const (
	FSType     = fsType
	SocketName = socketName
)

// HasRequired is for the test that it takes a file as package config does.
var HasRequired = hasRequired

// Annotated is for the test that it decides as the policy does.
var Annotated = annotated

// Known is for the test that the daemon decides as the policy does.
var Known = known
