package arm

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/blobd/blobd/internal/account"
)

// maxNetworkRules is how many ranges of addresses an account may have, as in Azure.
const maxNetworkRules = 400

var bypasses = map[string]bool{"": true, "none": true, "azureservices": true, "logging": true, "metrics": true}

// parseNetwork reads networkAcls, nil for what is not of the kind or asks for what is not here: rules of virtual networks and resources.
// Unlike Azure's, ranges may be private and of IPv6.
func parseNetwork(value json.RawMessage) *account.Network {
	var d struct {
		Bypass  string `json:"bypass"`
		Default string `json:"defaultAction"`
		IP      []struct {
			Value  string `json:"value"`
			Action string `json:"action"`
		} `json:"ipRules"`
		Networks []any `json:"virtualNetworkRules"`
		Access   []any `json:"resourceAccessRules"`
	}
	if json.Unmarshal(value, &d) != nil || len(d.IP) > maxNetworkRules || len(d.Networks)+len(d.Access) > 0 {
		return nil
	}
	n := &account.Network{Bypass: d.Bypass}
	for _, service := range strings.Split(d.Bypass, ",") {
		if !bypasses[lower(strings.TrimSpace(service))] {
			return nil
		}
	}
	switch lower(d.Default) {
	case "", "allow":
	case "deny":
		n.Deny = true
	default:
		return nil
	}
	for _, rule := range d.IP {
		p, err := netip.ParsePrefix(rule.Value)
		if addr, addrErr := netip.ParseAddr(rule.Value); addrErr == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() || p != p.Masked() || rule.Action != "" && !strings.EqualFold(rule.Action, "Allow") {
			return nil
		}
		n.Allow = append(n.Allow, p)
	}
	return n
}

func networkBody(n *account.Network) object {
	b := object{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}}
	if n == nil {
		return b
	}
	if n.Bypass != "" {
		b["bypass"] = n.Bypass
	}
	if n.Deny {
		b["defaultAction"] = "Deny"
	}
	rules := []object{}
	for _, p := range n.Allow {
		text := p.String()
		if p.IsSingleIP() {
			text = p.Addr().String()
		}
		rules = append(rules, object{"value": text, "action": "Allow"})
	}
	b["ipRules"] = rules
	return b
}
