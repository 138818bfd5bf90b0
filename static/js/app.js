// What HTML and htmx cannot do. Every page works without it, and it stores nothing.
{
  const every = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const flash = document.getElementById("flash");

  const showError = (message) => {
    flash.innerHTML =
      '<div class="flash bad" role="alert"><svg aria-hidden="true"><use href="#i-warn"/></svg><p></p></div>';
    flash.querySelector("p").textContent = message;
  };

  // The stream of changes reconnects by itself, so its failures are not shown.
  const isStream = (ctx) => ctx?.sourceElement?.hasAttribute("hx-sse:connect");

  // No response, or one from a proxy in front of the site, which must not be swapped into the page.
  addEventListener("htmx:error", (event) => {
    if (!isStream(event.detail.ctx)) showError("The site did not respond. Check your connection and try again.");
  });
  addEventListener("htmx:before:response", (event) => {
    const { response, hx, sourceElement } = event.detail.ctx;
    if (isStream(event.detail.ctx)) {
      if (response.status != 200) event.preventDefault();
      return;
    }
    // A field is not valid or the session has ended: submit the form, to show the whole page with it.
    if ([401, 422].includes(response.status) && sourceElement.matches(".writing [formaction]")) {
      event.preventDefault();
      sourceElement.form.requestSubmit(sourceElement);
      return;
    }
    if (response.status < 400 || response.status == 422 || hx.retarget) return;
    event.preventDefault();
    showError("The site can't respond right now. Try again in a moment.");
  });
  addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.response.status < 400 && flash.querySelector(".bad")) flash.replaceChildren();
  });

  // The "Show more" link is replaced by the posts it loaded: move the focus to the first of them.
  addEventListener("htmx:after:settle", (event) => {
    const { task, newContent } = event.detail;
    if (task.type == "partial" && task.target.id == "posts") newContent.find((node) => node.querySelector)?.querySelector("a")?.focus();
    makeScrollable();
  });

  // What scrolls sideways must be reachable by keyboard.
  const makeScrollable = () =>
    every(".prose :is(pre,table)", (box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    });
  makeScrollable();

  // Ignore a second submit while the first is on its way. Nothing is disabled, so the value of the
  // pressed button is sent, and the form is usable after going back.
  addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      if (form.matches(".htmx-request,[data-sent]")) {
        event.preventDefault();
        event.stopImmediatePropagation();
      } else if (!form.target && !form.hasAttribute("hx-post")) {
        form.dataset.sent = "";
        setTimeout(() => delete form.dataset.sent, 8000);
      }
    },
    true,
  );
  addEventListener("pageshow", () => every("[data-sent]", (form) => delete form.dataset.sent));

  every(".pw button", (button) => {
    const field = button.previousElementSibling;
    const show = (shown) => {
      field.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", shown);
    };
    button.hidden = false;
    button.addEventListener("click", () => show(field.type == "password"));
    // A text field's value would be stored as a suggestion.
    field.form.addEventListener("submit", () => show(false));
  });

  every(".writing", (form) => {
    const { title } = form.elements;
    const left = document.getElementById("title-left");
    const count = () => {
      // In characters, as the server counts; `length` would count an emoji twice.
      const rest = title.dataset.most - [...title.value.trim().normalize()].length;
      left.textContent = rest > 20 ? "" : rest < 0 ? `${-rest} too many` : `${rest} left`;
    };
    title.addEventListener("input", count);
    count();

    const differs = (field) => "defaultValue" in field && field.value != field.defaultValue;
    addEventListener("beforeunload", (event) => {
      if ("sent" in form.dataset) return;
      if ("unsaved" in form.dataset || [...form.elements].some(differs)) event.preventDefault();
    });
  });
}
