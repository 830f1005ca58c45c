//! Delivers Open Component Model components to Flux.
