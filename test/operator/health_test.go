// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// TestArgoCDAndFluxSeeWhatIsSo: from its birth to its end, every state in which the operator leaves an object is read by
// Argo CD's script as kstatus reads it, and the story goes through all of them.
func TestArgoCDAndFluxSeeWhatIsSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	script, err := os.ReadFile("../../config/argocd/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	seen := &verdicts{T: t, script: string(script), of: map[string][]string{}}
	for _, kind := range []string{"MailDomain", "DKIMKey", "DNSProvider"} {
		seen.follow(b, kind)
	}

	d := b.domain("example.org")
	b.awaitCondition(d, v1alpha1.ConditionStalled, "True", v1alpha1.ReasonProviderNotFound)
	b.provider("dns")
	b.awaitReady(d)
	b.awaitSpares(d)
	if err := b.change(d, func() { d.Spec.Suspend = true }); err != nil {
		t.Fatal(err)
	}
	b.awaitCondition(d, v1alpha1.ConditionSuspended, "True", "")
	if err := b.change(d, func() { d.Spec.Suspend, d.Spec.DeletionPolicy = false, v1alpha1.DeletionDelete }); err != nil {
		t.Fatal(err)
	}
	b.awaitReady(d)
	if err := b.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.awaitGone(d)

	for kind, want := range map[string][]string{
		"MailDomain":  {"Degraded", "Healthy", "Progressing", "Suspended"},
		"DKIMKey":     {"Healthy", "Progressing"},
		"DNSProvider": {"Healthy"},
	} {
		if got := seen.kinds(kind); !slices.Equal(slices.DeleteFunc(got, func(h string) bool { return !slices.Contains(want, h) }), want) {
			t.Errorf("a %s was %q on its way, want %q among them", kind, seen.kinds(kind), want)
		}
	}
}

// verdicts are what Argo CD says of each state of the objects.
type verdicts struct {
	*testing.T
	script string
	mu     sync.Mutex
	of     map[string][]string // by kind
}

func (v *verdicts) kinds(kind string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := slices.Clone(v.of[kind])
	slices.Sort(all)
	return slices.Compact(all)
}

// follow judges every state of the objects of a kind until the test ends.
func (v *verdicts) follow(b *bench, kind string) {
	v.Helper()
	watching, err := client.NewWithWatch(b.config, client.Options{})
	if err != nil {
		v.Fatal(err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
	ctx, cancel := context.WithCancel(context.Background())
	events, err := watching.Watch(ctx, list, client.InNamespace(b.namespace))
	if err != nil {
		v.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range events.ResultChan() {
			if o, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Deleted {
				v.judge(o)
			}
		}
	}()
	v.Cleanup(func() {
		cancel()
		<-done
	})
}

func (v *verdicts) judge(o *unstructured.Unstructured) {
	argo, message := v.argo(o)
	v.mu.Lock()
	v.of[o.GetKind()] = append(v.of[o.GetKind()], argo)
	v.mu.Unlock()
	if message == "" {
		v.Errorf("%s without a word: %v", argo, o.Object)
	}
	if observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration"); observed == 0 && o.GetDeletionTimestamp() == nil {
		if argo != "Progressing" {
			v.Errorf("%s before the operator has looked", argo)
		}
		return // kstatus takes an object without a status for one that has none to give
	}
	flux, err := kstatus.Compute(o)
	if err != nil {
		v.Error(err)
		return
	}
	want := map[kstatus.Status][]string{
		kstatus.InProgressStatus:  {"Progressing"},
		kstatus.TerminatingStatus: {"Progressing"},
		kstatus.FailedStatus:      {"Degraded"},
		kstatus.CurrentStatus:     {"Healthy", "Suspended"},
	}[flux.Status]
	if !slices.Contains(want, argo) {
		v.Errorf("Argo CD takes it for %s (%s), kstatus for %s (%s): %v", argo, message, flux.Status, flux.Message, o.Object["status"])
	}
}

// argo runs the script as Argo CD does: the object as a global, and none of Lua's doors to the machine.
func (v *verdicts) argo(o *unstructured.Unstructured) (health, message string) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			v.Error(err)
		}
	}
	state.SetGlobal("obj", inLua(state, o.Object))
	if err := state.DoString(v.script); err != nil {
		v.Errorf("health.lua: %v", err)
		return "", ""
	}
	answer, _ := state.Get(-1).(*lua.LTable)
	if answer == nil {
		v.Error("health.lua returns no table")
		return "", ""
	}
	return lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))
}

// inLua is a JSON value as Lua has it.
func inLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		list := state.NewTable()
		for _, item := range value {
			list.Append(inLua(state, item))
		}
		return list
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, inLua(state, item))
		}
		return table
	}
	return lua.LNil
}
