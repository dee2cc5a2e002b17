# Everyone who is signed in may use everything that is enabled: what the
# gateway does without policies, written down. Copy it as the ground for the
# guards beside it, which only ever take away.
package ostiary

default allow := false

allow if input.user.id != ""
