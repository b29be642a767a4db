// The page's cases (JSON, base64 NIfTI) in; NiiVue's picture, and controls that a mouse, a finger or a keyboard moves, out.
(async () => {
  "use strict";
  const { Niivue, NVImage, SLICE_TYPE, DRAG_MODE, SHOW_RENDER } = niivue;
  const VIEWS = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, three: SLICE_TYPE.MULTIPLANAR };
  const VIEW_KEYS = { a: "axial", c: "coronal", s: "sagittal", t: "three" };
  const cases = JSON.parse(document.getElementById("cases").textContent);
  const at = (id) => document.getElementById(id);
  const [stage, canvas, slider, opacity] = ["stage", "picture", "slice", "opacity"].map(at);
  let current = -1, slice = 0, value = null, before = 50, grey = "", loading = 0;

  const fail = (error) => {
    at("failure").hidden = false;
    at("failure").textContent = `The picture cannot be drawn (${error.message || error}). The viewer needs WebGL 2.`;
    at("place").textContent = "";
    canvas.setAttribute("aria-label", "No picture: the viewer needs WebGL 2");
  };

  const nv = new Niivue({
    logLevel: "error", isRadiologicalConvention: true, dragAndDropEnabled: false, dragMode: DRAG_MODE.windowing, invertScrollDirection: true,
    sliceType: SLICE_TYPE.AXIAL, multiplanarShowRender: SHOW_RENDER.NEVER, crosshairWidth: 0, loadingText: "",
    backColor: [0, 0, 0, 1], crosshairColor: [0.36, 0.62, 0.87, 1], fontColor: [0.8, 0.8, 0.8, 1],
  });
  try {
    await nv.attachToCanvas(canvas);
  } catch (error) {
    return fail(error);
  }
  canvas.tabIndex = -1; // the stage around it takes the focus and the keys

  const checked = (name) => document.querySelector(`input[name="${name}"]:checked`);
  const say = () => {
    const { slices, units, marks, overlay, windows } = cases[current];
    const here = windows.filter((w) => w.start < slice + 1 && slice < w.stop).map((w) => w.probability.toFixed(2));
    const words = [`Slice ${slice + 1} of ${slices}`];
    if (marks[slice]) words.push(`marked ${marks[slice]}`);
    if (here.length) words.push(`probability ${here.join(", ")}`);
    if (value !== null) words.push(units === "HU" ? `value ${Math.round(value)} HU` : `${units} ${Math.round(value)}`);
    at("place").textContent = words.join(" · ");
    const shown = overlay && Number(opacity.value) ? `overlay at ${opacity.value} %` : "no overlay";
    const view = checked("view").value;
    canvas.setAttribute("aria-label", `${cases[current].name}, ${view} view, slice ${slice + 1} of ${slices}, ${grey} window, ${shown}`);
    at("still").alt = canvas.getAttribute("aria-label");
    slider.value = slice + 1;
    slider.setAttribute("aria-valuetext", words.slice(0, 2).join(", "));
    at("cursor").style.setProperty("--at", `${(100 * (slice + 0.5)) / slices}%`);
  };
  // NiiVue counts slices from the feet, the page from the top
  const go = (wanted) => {
    if (!nv.volumes.length) return;
    const { slices } = cases[current];
    slice = Math.max(0, Math.min(slices - 1, wanted));
    const [x, y] = nv.scene.crosshairPos;
    nv.scene.crosshairPos = [x, y, (slices - slice - 0.5) / slices];
    nv.createOnLocationChange();
    nv.drawScene();
  };
  nv.onLocationChange = (place) => {
    if (!nv.volumes.length) return;
    const { slices } = cases[current];
    slice = Math.max(0, Math.min(slices - 1, slices - 1 - Math.floor(place.frac[2] * slices)));
    value = place.values.length ? place.values[0].value : null;
    say();
  };
  // a drag with the right button changes the grey window inside NiiVue, which tells nobody
  const noteGrey = () => {
    if (!nv.volumes.length) return;
    const { cal_min: low, cal_max: high } = nv.volumes[0];
    const number = cases[current].presets.findIndex((preset) => preset.low === low && preset.high === high);
    at("presets").querySelectorAll("input").forEach((input, place) => { input.checked = place === number; });
    grey = number < 0 ? `${Math.round(low)} to ${Math.round(high)}` : cases[current].presets[number].name;
    say();
  };
  const choosePreset = (number) => {
    const preset = cases[current].presets[number];
    if (!preset || !nv.volumes.length) return;
    Object.assign(nv.volumes[0], { cal_min: preset.low, cal_max: preset.high });
    nv.updateGLVolume();
    noteGrey();
  };
  const chooseView = (name) => {
    document.querySelector(`input[name="view"][value="${name}"]`).checked = true;
    nv.opts.crosshairWidth = name === "axial" ? 0 : 1;
    nv.setSliceType(VIEWS[name]);
    say();
  };
  const setOpacity = (percent) => {
    opacity.value = percent;
    at("opacity-said").textContent = `${opacity.value} %`;
    if (nv.volumes.length > 1) nv.setOpacity(1, opacity.value / 100);
    say();
  };
  const listPresets = (presets) => {
    const labels = presets.map(({ name, low, high }) => {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "preset" });
      label.append(input, `${name} (${low} to ${high})`.replaceAll("-", "−"));
      return label;
    });
    at("presets").querySelector(".choices").replaceChildren(...labels);
    labels.forEach((label, number) => label.firstChild.addEventListener("change", () => choosePreset(number)));
  };
  const load = (id, options) => NVImage.loadFromBase64({ base64: at(id).textContent.trim(), name: `${id}.nii.gz`, ...options });
  const show = async (number) => {
    const mine = ++loading, { slices, presets, overlay, floor } = cases[number];
    const images = [await load(`scan-${number}`, { colormap: "gray", cal_min: presets[0].low, cal_max: presets[0].high })];
    if (overlay) images.push(await load(`overlay-${number}`, { colormap: "warm", opacity: opacity.value / 100, cal_min: floor, cal_max: 1 }));
    if (mine !== loading) return; // another scan was chosen meanwhile
    while (nv.volumes.length) nv.removeVolume(nv.volumes[nv.volumes.length - 1]);
    current = number;
    images.forEach((image) => nv.addVolume(image));
    at("case").value = number;
    slider.max = slices;
    document.querySelectorAll(".of-case").forEach((part) => { part.hidden = Number(part.dataset.case) !== number; });
    listPresets(presets);
    nv.scene.crosshairPos = [0.5, 0.5, 0.5];
    go(cases[number].first);
    choosePreset(0);
    stage.dataset.ready = number;
  };
  const step = (by) => {
    const number = current + by;
    if (number >= 0 && number < cases.length) show(number).catch(fail);
  };
  const KEYS = {
    ArrowUp: () => go(slice - 1), ArrowLeft: () => go(slice - 1), ArrowDown: () => go(slice + 1), ArrowRight: () => go(slice + 1),
    PageUp: () => go(slice - 10), PageDown: () => go(slice + 10), Home: () => go(0), End: () => go(cases[current].slices - 1),
    n: () => step(1), p: () => step(-1),
  };
  ["1", "2", "3", "4"].forEach((key, number) => { KEYS[key] = () => choosePreset(number); });
  Object.entries(VIEW_KEYS).forEach(([key, name]) => { KEYS[key] = () => chooseView(name); });
  // the overlay's bytes are in the page already: nothing is loaded
  document.querySelectorAll(".save-overlay").forEach((button) => button.addEventListener("click", () => {
    const number = button.dataset.case, bytes = Uint8Array.from(atob(at(`overlay-${number}`).textContent.trim()), (c) => c.charCodeAt(0));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "application/gzip" }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }));
  if (opacity) {
    const toggle = () => {
      const now = Number(opacity.value);
      if (now) before = now;
      setOpacity(now ? 0 : before);
    };
    Object.assign(KEYS, {
      o: toggle, "+": () => setOpacity(Number(opacity.value) + 10), "-": () => setOpacity(Number(opacity.value) - 10),
    });
    opacity.addEventListener("input", () => setOpacity(opacity.value));
  }
  // in the capture phase, so that NiiVue's own keys (one opens an alert) never see them
  stage.addEventListener("keydown", (event) => {
    if (event.key !== "Tab") event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey || current < 0) return;
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }, true);
  stage.addEventListener("keyup", (event) => event.stopPropagation(), true);
  stage.addEventListener("dblclick", (event) => event.stopPropagation(), true); // NiiVue's would change the grey window
  window.addEventListener("mouseup", noteGrey);
  stage.addEventListener("mousedown", () => stage.focus({ preventScroll: true }));
  slider.addEventListener("input", () => go(slider.value - 1));
  at("case").addEventListener("change", () => show(Number(at("case").value)).catch(fail));
  document.querySelectorAll('input[name="view"]').forEach((input) => input.addEventListener("change", () => chooseView(input.value)));
  window.addEventListener("beforeprint", () => {
    nv.drawScene(); // the drawing is there only until the browser shows it
    at("still").src = canvas.toDataURL("image/png");
  });
  show(0).catch(fail);
})();
