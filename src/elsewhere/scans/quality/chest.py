"""Nothing in, the mean shape of simulated chests out: which way up a chest lies (see orientation.py).

Made by `python benchmarks/forensics.py --chest`; no real scan is in it.
"""

MEAN_CHEST = (
    "c-jrq>sL|-003~!nvaPJgoq$q;0lQHyvkDqFL?2R$nh-8&gtv^kDZ-%c3K~Hc1~NZ*UFX|5s1k<H69^X#ET#*rWx339UrT)nwhr!{)b;Ng`<#j"
    "*-{0+uDA-&G!h^Qjj97H@d6lIP`9to$l7X%8s_MWJ~)5<csH5c`(Zq2HWgb}EDWk;eJTmjYh00ju)&g^O^Zp@zNsEAZD45*9Ud+U%=B_7rmZLA"
    "s=?>ZXg`yrFaP~kt=9L;%N`0|qFN^jAzHdgR&&T|k%$@8X0ec2R3_{$Y-^4Cd7Y%3psc!do}#&XaSyJo>zcheCWjZV**h6PyUq2vud`%)l*{LV"
    "w$K}sp6YX!wF*ei&>OuJ^myJYMOCi&4r8C~_wA^KL~m~EOdosx@!v`wII$S){|b6MQ3f&8Hs39_x#<4wW**6~dcjjKihb*W>yJs>%H+))`Img@"
    "iAv)a_S*%~ufOHYC+Yf0{|MOYzIR8);j<n_XN*024*T)e)}z33xv`xZ4L;MVbKxx}ENja}!-y_5n*qDpOdC)AMmUN7fiM5_%;#AzqFcrGk2=`$"
    "-Q+Z)+>LFfhAsRVG!2UgZfsIHSmE~VD;ThK^lF2`cIAeIdmJHSVyO_y9(Gld2O|p;dG5IFKFku(T`9M~wC5Z<kg0Ye7;4bedOUI1u!zOpYlMJ5"
    "<U+c`X;h))vnQhty>U9TJfxR&&cz+-F7FaXpww#Kq?{^bdTsf+xbZ|PJE=3oS2mNU2f*<1<F58ybj`0BstBSfnBQcdzQNYp?N*$$bm*@s0BUQD"
    "E}Mw}99TkWux#rFwMBk7gT3ojn(+71T0;_@BN@0|fYX5>{>3<3LGL7bA82%wnK&JyYqqB+1Zvk>ma5<?*H8~f<=V{Q5g7-|c)1<k{Mwe;fJfH@"
    "B4j4F8SS$$(2amb|16vHNzNXNt)d7-31cJNZrfDkldAGuE`*o0lOqXpJ*&m)kI2Qcw$VeeYHQqmgn$A|$g9)40&YNF&pVa8uG5Y@jfq6$mQ#y&"
    "MAEyl5GblsszVND%LCMXAZH<mK{rL<Scpeet+h)_(-hgG7li-}7q<7pEZF_(rAIZ0TX`3eAlTaTN4#_YB=e|2RXV?VzuD}V&+O=k!<pED%us@2"
    "Mkb}=Zq)gaMhAY};0uH9L>8>0DQ%Z!l1q_=0-H$dnEXb}`7W{W2_OLSvGWx2_bKcHlgKAr`KcQJLwaeOQ_q{acCCzbF_8&#c&{$lM=MxA2j{I#"
    "viZwTCP>iDQ1A-9H}A-JIIt)D<SO}0HoW4~YTkwtBh8kF^XaUfJTM#2Lp`tKb8>E_SOY`UYBH+?U)Rv2)3#8m2{kqQAd96}b57!L`xS3N1`ScN"
    "3DvkFT!Hj|coj&fp#khdIj+j0<&jPT4B_rk#lNSGVp>BTAlWz|rOytjIZY&x8z~h$==@sEQ<qaJA2z_&k3Gf2-e(_jc6G<=!0WL_vo(RH47L5C"
    "xs1fLnV5sP{{c8&0wM"
)
