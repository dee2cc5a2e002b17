package main

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/ostiary/ostiary/gateway"
	"github.com/ostiary/ostiary/policy"
)

// readRates reads the classes of budgets that policies spend from:
// {heavy: {limit: 10, per: 1m, by: [user, tool]}}.
func readRates(r *fileReader, n *yaml.Node) {
	r.config.Rates = nil
	r.each("rates", n, func(name, value *yaml.Node) {
		key := "rates." + name.Value
		switch {
		case !policy.RateClass(name.Value):
			r.problem(name, "%s: a class is named with up to 64 letters, digits, - and _", key)
			return
		case len(r.config.Rates) == gateway.MaxRates:
			r.problem(name, "%s: there can be %d classes", key, gateway.MaxRates)
			return
		}
		rate := gateway.Rate{Name: name.Value}
		r.each(key, value, func(word, v *yaml.Node) {
			if read, ok := rateKeys[word.Value]; ok {
				if err := read(&rate, v); err != nil {
					r.problem(v, "%s.%s: %w", key, word.Value, err)
				}
				return
			}
			r.problem(word, "%s.%s: unknown key%s", key, word.Value, didYouMean(word.Value, []string{"by", "limit", "per"}))
		})
		if value.Kind == yaml.MappingNode {
			for _, missing := range []struct {
				word string
				is   bool
			}{{"limit", rate.Limit == 0}, {"per", rate.Per == 0}} {
				if missing.is && !hasKey(value, missing.word) {
					r.problem(value, "%s.%s: is missing; write {limit: 10, per: 1m, by: [user]}", key, missing.word)
				}
			}
		} else if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
			r.problem(value, "%s: want limit and per; write {limit: 10, per: 1m, by: [user]}", key)
		}
		r.config.Rates = append(r.config.Rates, rate)
	})
}

func hasKey(n *yaml.Node, word string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == word {
			return true
		}
	}
	return false
}

var rateKeys = map[string]func(*gateway.Rate, *yaml.Node) error{
	"limit": func(rate *gateway.Rate, n *yaml.Node) (err error) {
		if rate.Limit, err = parseCount(n.Value); n.Kind != yaml.ScalarNode || err != nil || rate.Limit > gateway.MaxRateLimit {
			return fmt.Errorf("want a number from 1 to %d", gateway.MaxRateLimit)
		}
		return nil
	},
	"per": func(rate *gateway.Rate, n *yaml.Node) (err error) {
		if rate.Per, err = parseDuration(n.Value); n.Kind != yaml.ScalarNode || err != nil || rate.Per < gateway.MinRatePer || rate.Per > gateway.MaxRatePer {
			return fmt.Errorf("want a duration from %s to %s; write 30s, 1m or 1h", gateway.MinRatePer, gateway.MaxRatePer)
		}
		return nil
	},
	"by": func(rate *gateway.Rate, n *yaml.Node) error {
		known := gateway.RateKeys()
		wrong := fmt.Errorf("want a list of %s, each once; an empty one counts everyone together", strings.Join(known, ", "))
		if n.Kind != yaml.SequenceNode {
			return wrong
		}
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || !slices.Contains(known, item.Value) || slices.Contains(rate.By, item.Value) {
				return wrong
			}
			rate.By = append(rate.By, item.Value)
		}
		return nil
	},
}

// classes are the names of the declared rates; an empty list is one as well:
// no class is declared.
func (c *config) classes() []string {
	names := []string{}
	for _, r := range c.Rates {
		names = append(names, r.Name)
	}
	return names
}
