package hook

// For the test that they are those of the packages which are too large to import.
const (
	FSType     = fsType
	SocketName = socketName
)

// Annotated is for the test that it decides as the policy does.
var Annotated = annotated
