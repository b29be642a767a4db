// The part of NiiVue that the case viewer uses.
export { Niivue, NVImage, SLICE_TYPE, DRAG_MODE, SHOW_RENDER } from "@niivue/niivue";
