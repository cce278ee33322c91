"""The hand data engine: parametric hands, poses, people, and (with moderngl) pictures of them with exact truth."""
