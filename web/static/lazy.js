/* Owns what is loaded only when it is first shown: modules with views that most visits never open, and their styles.
   Such a view must not be imported in any other way; whoever draws takes null for "not yet" and draws again when told. */

let drawAgain = () => {};

/** Say who draws the page again once something has been loaded. */
export const whenLoaded = (draw) => {
  drawAgain = draw;
};

/** Give a function that returns the module, or null while it is being loaded:
 *  const view = lazily(() => import("./x.js"), "/static/x.css"); … view()?.renderX(state, act) */
export function lazily(load, style) {
  let loaded = null;
  let loading = false;
  return () => {
    if (!loaded && !loading) {
      loading = true;
      Promise.all([load(), style && styled(style)])
        .then(([module]) => {
          loaded = module;
          drawAgain();
        })
        .finally(() => {
          loading = false; // after a failure the next drawing asks again
        });
    }
    return loaded;
  };
}

const styled = (href) =>
  new Promise((done, failed) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href, onload: done, onerror: failed });
    document.head.append(link);
  });
