// Stands in for Zarr's codecs (1.4 MB of WebAssembly): the viewer reads NIfTI alone, so they are never called.
export default {};
