# What needs more than cargo: the programs for the tests on a real cluster.

# One Go module under tests/tools each, in the order in which they are needed.
TOOLS := etcd kubernetes registry source-controller kustomize-controller helm-controller helm

.DEFAULT_GOAL := help
.PHONY: help tools $(TOOLS:%=tool-%)

help: ## Say what can be made.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

tools: $(TOOLS:%=tool-%) ## Build what the cluster tests run, into a cache, and link it into target/tools.

$(TOOLS:%=tool-%): tool-%:
	@tests/tools/build.sh $*
