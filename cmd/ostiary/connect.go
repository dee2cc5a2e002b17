package main

import "fmt"

// connect is how one agent is pointed at the gateway.
type connect struct {
	Agent   string `json:"agent"`
	Command string `json:"command"` // ready to paste: a command, or a file's content
}

// connectCommands are ready to paste, the first one for Claude Code.
func connectCommands(url string) []connect {
	return []connect{
		{"Claude Code", fmt.Sprintf("claude mcp add --transport http ostiary %s", url)},
		{"Codex", fmt.Sprintf("codex mcp add ostiary --url %s", url)},
		{"VS Code", fmt.Sprintf(`code --add-mcp '{"name":"ostiary","type":"http","url":"%s"}'`, url)},
		{"Cursor", fmt.Sprintf(`~/.cursor/mcp.json: {"mcpServers":{"ostiary":{"url":"%s"}}}`, url)},
		{"Gemini CLI", fmt.Sprintf("gemini mcp add --transport http ostiary %s", url)},
	}
}
